// A conversation outlives its sockets. When a socket closes, it connects again, and
// the server sends what it missed. client.py does the same in a terminal.

const SIGNED_OUT = 4001; // the server's close code for a client that is not signed in
// Seconds until a new socket has caught up. A page that only listens cannot tell a
// dead socket from a silent room, because browsers have no ping. The server's ping
// ends such a socket.
const TIME_LIMIT = 10;

// Seconds before the next try. Each wait is longer, to leave a server in trouble
// alone. It is random, so that pages that lost the server together do not all come
// back together.
export function reconnectWait(tries) {
  return Math.random() * Math.min(15, 0.5 * 2 ** tries);
}

export class Conversation {
  last = null; // the number up to which the page shows all messages; null at first
  tries = 0; // connections in a row that brought nothing
  signedOut = false;
  socket = null;

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
      this.page.showStatus("closed", "Signed out. Reload the page to sign in.");
    } else {
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
  }

  // The network went away or came back: the socket may be dead without knowing it.
  networkChanged() {
    this.tries = 0;
    if (!this.signedOut) this.reconnect();
  }

  // Send a message. Return false if there is no open socket.
  send(message) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify({ message }));
    return true;
  }

  receive(frame) {
    if ("error" in frame) {
      this.page.showError(frame.error);
    } else if ("caught_up" in frame) {
      clearTimeout(this.timer);
      this.last = frame.caught_up;
      this.tries = 0;
    } else {
      this.page.showMessage(frame);
      this.last = frame.seq ?? this.last; // an announcement has no number
    }
  }
}
