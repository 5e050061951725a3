// A conversation outlives its sockets. It connects again, asks for what was said meanwhile, and
// sends again what nobody acknowledged: nothing is lost, nothing comes twice, all is in order.
// What there is to see, it tells the page. client.py does the same in a terminal.

const SIGNED_OUT = 4001; // the server's close codes: for strangers …
const TOO_LARGE = 1009; // … and for a message that it will not take next time either
// Seconds without an answer, after which a socket is taken for dead. Who only listens cannot tell a
// dead one from a silent room: browsers have no ping. Servers have, and close what does not answer.
const PATIENCE = 10;
const SETTLED = 5; // seconds; a socket that lasts so long has got the history, if there is any

// Seconds to wait before a try: longer each time, so that a server in trouble is left alone; and
// random, for otherwise all pages that lost it together would come back together.
export function reconnectWait(tries) {
  return Math.random() * Math.min(15, 0.5 * 2 ** tries);
}

export class Conversation {
  last = null; // the highest seq that was shown; null as long as there was none
  hole = null; // the last before a hole that we came back for
  holesStay = false; // whether such a hole was still there, on a socket that has not settled yet
  outbox = []; // what was written and is not acknowledged, oldest first
  tries = 0; // in vain, one after the other
  signedOut = false;
  socket = null;

  constructor(url, page) {
    this.url = url;
    this.page = page;
    this.connect();
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  // There is one thing to wait for at a time: it replaces what was waited for before.
  later(seconds, action) {
    clearTimeout(this.timer);
    this.timer = setTimeout(action, seconds * 1000);
  }

  connect() {
    const after = this.last === null ? "" : `&after=${this.last}`;
    const socket = new WebSocket(this.url + after);
    const listen = (type, listener) =>
      socket.addEventListener(type, (event) => {
        // A socket that was given up may still say something: nobody listens.
        if (socket === this.socket) listener(event);
      });
    this.socket = socket;
    this.holesStay = false;
    listen("open", () => this.opened());
    listen("message", (event) => this.receive(JSON.parse(event.data)));
    // A browser tells a script nothing about an error but the close event that follows it.
    listen("close", (event) => this.closed(event.code));
    this.later(PATIENCE, () => this.reconnect());
  }

  opened() {
    this.page.showStatus("open", "Connected");
    clearTimeout(this.timer);
    this.settling = setTimeout(() => this.settle(), SETTLED * 1000);
    this.sendOldest();
  }

  settle() {
    this.tries = 0;
    this.holesStay = false;
    this.last ??= 0; // an empty room: its first message will be number 1
  }

  closed(code) {
    if (code === SIGNED_OUT) {
      this.signedOut = true;
      this.giveUp();
      for (const sent of this.outbox.splice(0)) this.page.showNotSent(sent, "You are signed out.");
      this.page.showStatus("closed", "Signed out. Reload the page to sign in.");
      return;
    }
    if (code === TOO_LARGE && this.outbox.length > 0) {
      this.page.showNotSent(this.takeOldest(), "It is too large.");
    }
    this.reconnect();
  }

  reconnect() {
    const wait = reconnectWait(this.tries);
    this.tries += 1;
    this.giveUp();
    this.page.showWaiting(wait);
    this.later(wait, () => this.connect());
  }

  giveUp() {
    clearTimeout(this.timer);
    clearTimeout(this.settling);
    // Not waiting for it to close: without a network that takes minutes.
    this.socket?.close();
    this.socket = null;
  }

  // The network went or came: whatever socket there is may be dead and not know it.
  networkChanged() {
    this.tries = 0;
    if (!this.signedOut) this.reconnect();
  }

  // Queue a message. Its client_id says that it is the same one when it has to be sent again.
  send(message) {
    // Not crypto.randomUUID: browsers have that on https: and localhost only.
    const client_id = crypto.getRandomValues(new Uint32Array(4)).join("-");
    this.outbox.push({ message, client_id });
    this.page.showSending(this.outbox.at(-1));
    if (this.isOpen && this.outbox.length === 1) this.sendOldest();
  }

  // The next one goes when this one is acknowledged: so they are stored in the order of writing.
  sendOldest() {
    if (!this.isOpen || this.outbox.length === 0) return;
    this.socket.send(JSON.stringify(this.outbox[0]));
    this.later(PATIENCE, () => this.reconnect());
  }

  takeOldest() {
    clearTimeout(this.timer);
    return this.outbox.shift();
  }

  receive(frame) {
    const isOurs = this.outbox.length > 0 && frame.client_id === this.outbox[0].client_id;
    if ("error" in frame) {
      this.receiveError(frame, isOurs);
    } else if ("seq" in frame) {
      this.receiveMessage(frame, isOurs);
    } else {
      this.page.showMessage(frame); // an announcement, which is not stored
    }
  }

  receiveError(frame, isOurs) {
    if (!isOurs) {
      this.page.showError(frame.error);
    } else if ("retry_after" in frame) {
      this.later(frame.retry_after, () => this.sendOldest());
    } else {
      this.page.showNotSent(this.takeOldest(), frame.error);
      this.sendOldest();
    }
  }

  receiveMessage(frame, isOurs) {
    this.tries = 0;
    if (isOurs) this.takeOldest();
    const isHole = this.last !== null && frame.seq > this.last + 1;
    // A hole that is still there when we come back for it is a message that was deleted. So are
    // the other holes in what comes then: we do not come back for each of them.
    if (isHole && this.hole === this.last) this.holesStay = true;
    if (isHole && !this.holesStay) {
      this.hole = this.last;
      this.reconnect();
      return;
    }
    // Not what was shown before. Ours was not, however old, or it would have left the outbox.
    if (isOurs || this.last === null || frame.seq > this.last) this.page.showMessage(frame);
    this.last = Math.max(this.last, frame.seq);
    if (isOurs) this.sendOldest();
  }
}
