// A conversation outlives its sockets. When a socket closes, it connects again, and
// the server sends what it missed. A message that was not acknowledged is sent again:
// it is stored once. client.py does the same in a terminal.

const SIGNED_OUT = 4001; // the server's close code for a client that is not signed in
const TOO_LARGE = 1009; // the server's close code for a frame that it will never take
// Seconds until a new socket has caught up, or until a message is acknowledged. A page
// that only listens cannot tell a dead socket from a silent room, because browsers
// have no ping. The server's ping ends such a socket.
const TIME_LIMIT = 10;

// Seconds before the next try. Each wait is longer, to leave a server in trouble
// alone. It is random, so that pages that lost the server together do not all come
// back together.
export function reconnectWait(tries) {
  return Math.random() * Math.min(15, 0.5 * 2 ** tries);
}

export class Conversation {
  unsent = []; // the messages that were not acknowledged, oldest first
  last = null; // the number up to which the page shows all messages; null at first
  tries = 0; // connections in a row that brought nothing
  signedOut = false;
  socket = null;
  caughtUp = false; // whether this socket has sent all that was missed

  constructor(url, page) {
    this.url = url;
    this.page = page;
    this.connect();
  }

  // Only one thing is waited for at a time, so the new timer replaces the old one.
  later(seconds, action) {
    clearTimeout(this.timer);
    this.timer = setTimeout(action, seconds * 1000);
  }

  connect() {
    const after = this.last === null ? "" : `&after=${this.last}`;
    const socket = new WebSocket(this.url + after);
    const listen = (type, listener) =>
      socket.addEventListener(type, (event) => {
        // A socket that was given up may still have events. Ignore them.
        if (socket === this.socket) listener(event);
      });
    this.socket = socket;
    listen("open", () => this.page.showStatus("open", "Connected"));
    listen("message", (event) => this.receive(JSON.parse(event.data)));
    // A browser tells a script nothing about an error. Only this event follows.
    listen("close", (event) => this.closed(event.code));
    this.later(TIME_LIMIT, () => this.reconnect());
  }

  closed(code) {
    if (code === SIGNED_OUT) {
      this.signedOut = true;
      this.giveUp();
      while (this.unsent.length > 0) this.refuseOldest("You are signed out.");
      this.page.showStatus("closed", "Signed out. Reload the page to sign in.");
    } else {
      if (code === TOO_LARGE && this.unsent.length > 0) {
        this.refuseOldest("It is too large.");
      }
      this.reconnect();
    }
  }

  reconnect() {
    this.giveUp();
    const reason = navigator.onLine ? "" : "No network. ";
    this.page.showStatus("connecting", `${reason}Reconnecting…`);
    this.later(reconnectWait(this.tries), () => this.connect());
    this.tries += 1;
  }

  giveUp() {
    clearTimeout(this.timer);
    // Do not wait for the close event: without a network it takes minutes.
    this.socket?.close();
    this.socket = null;
    this.caughtUp = false;
  }

  // The network went away or came back: the socket may be dead without knowing it.
  networkChanged() {
    this.tries = 0;
    if (!this.signedOut) this.reconnect();
  }

  // Queue a message. The server knows by its client_id when it comes again.
  send(message) {
    // Not crypto.randomUUID: it exists on https: pages and on localhost only.
    const client_id = crypto.getRandomValues(new Uint32Array(4)).join("-");
    this.unsent.push({ message, client_id });
    this.page.showUnsent(this.unsent);
    if (this.caughtUp && this.unsent.length === 1) this.sendOldest();
  }

  // Send the next message when this one is acknowledged. So they are stored in the
  // order of writing.
  sendOldest() {
    if (!this.caughtUp || this.unsent.length === 0) return;
    this.socket.send(JSON.stringify(this.unsent[0]));
    this.later(TIME_LIMIT, () => this.reconnect());
  }

  takeOldest() {
    clearTimeout(this.timer);
    const oldest = this.unsent.shift();
    this.page.showUnsent(this.unsent);
    return oldest;
  }

  refuseOldest(reason) {
    const { message } = this.takeOldest();
    // \u2068 and \u2069 isolate the text, as <bdi> does.
    this.page.showError(`Not sent: ${reason} Your message: \u2068${message}\u2069`);
  }

  receive(frame) {
    const oldest = this.unsent[0];
    const isOurs = oldest !== undefined && frame.client_id === oldest.client_id;
    if ("error" in frame) {
      this.receiveError(frame, isOurs);
    } else if ("caught_up" in frame) {
      clearTimeout(this.timer);
      this.last = frame.caught_up;
      this.tries = 0;
      this.caughtUp = true;
      this.sendOldest();
    } else {
      if (isOurs) this.takeOldest();
      // An answer may come twice: show it once. An announcement has no number.
      if (isOurs || !(frame.seq <= this.last)) this.page.showMessage(frame);
      this.last = Math.max(this.last, frame.seq ?? 0); // an announcement has no number
      if (isOurs) this.sendOldest();
    }
  }

  receiveError(frame, isOurs) {
    if (!isOurs) {
      this.page.showError(frame.error);
    } else if ("retry_after" in frame) {
      this.later(frame.retry_after, () => this.sendOldest());
    } else {
      this.refuseOldest(frame.error);
      this.sendOldest();
    }
  }
}
