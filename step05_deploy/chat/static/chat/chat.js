// Show the conversation: what the room hears, what the person writes, how the connection is.

import { Conversation } from "./conversation.js";

const connectionStatus = document.querySelector("#connection-status");
const chatLog = document.querySelector("#chat-log");
const messageInput = document.querySelector("#chat-message-input");
const MAX_LINES = 1000; // in the log, however much is said
const roomName = JSON.parse(document.querySelector("#room-name").textContent);
const username = JSON.parse(document.querySelector("#username").textContent);
const sending = new Map(); // the lines that are not acknowledged, by client_id, oldest first
let countdown;

function showStatus(state, text) {
  clearTimeout(countdown);
  connectionStatus.dataset.state = state;
  connectionStatus.textContent = text;
}

function showWaiting(seconds) {
  showStatus("connecting", navigator.onLine ? "Reconnecting" : "No network. Reconnecting");
  const rest = document.createElement("span");
  rest.ariaHidden = "true"; // a screen reader need not count along
  connectionStatus.append(rest);
  const count = (left) => {
    rest.textContent = left > 0 ? ` in ${left} s` : "…";
    if (left > 0) countdown = setTimeout(count, 1000, left - 1);
  };
  count(Math.ceil(seconds));
}

function makeLine(className, ...parts) {
  const line = document.createElement("p");
  line.className = className;
  // append() takes a string as text, never as HTML: a message is somebody's words.
  line.append(...parts);
  return line;
}

// Add a line above those that are being sent: these stay at the end.
function addLine(line) {
  const [oldest = null] = sending.values();
  chatLog.insertBefore(line, oldest);
  while (chatLog.childElementCount > MAX_LINES && chatLog.firstElementChild !== oldest) {
    chatLog.firstElementChild.remove();
  }
  scrollDown();
}

// Once for all lines that come before the browser draws again: where the end is, it has to
// compute, and after thousands of messages were missed, thousands of lines come at once.
let scrolling = false;
function scrollDown() {
  if (scrolling) return;
  scrolling = true;
  requestAnimationFrame(() => {
    scrolling = false;
    chatLog.scrollTop = chatLog.scrollHeight;
  });
}

function timeOf(frame) {
  const time = document.createElement("time");
  time.dateTime = frame.sent_at;
  const date = new Date(frame.sent_at);
  time.textContent = date.toLocaleTimeString([], { timeStyle: "short" });
  return time;
}

// A name and a text each have a direction of their own: in one, those in Hebrew change places.
function nameOf(frame) {
  const name = document.createElement("b");
  name.dir = "auto";
  name.textContent = frame.username;
  return name;
}

function textOf(frame) {
  const text = document.createElement("bdi");
  text.textContent = frame.message;
  return text;
}

function showMessage(frame) {
  const line = sending.get(frame.client_id);
  if (line) {
    sending.delete(frame.client_id);
    line.className = "message";
    line.querySelector("time").replaceWith(timeOf(frame));
    line.querySelector("small").remove();
  } else if ("seq" in frame) {
    addLine(makeLine("message", timeOf(frame), " ", nameOf(frame), " ", textOf(frame)));
  } else {
    addLine(makeLine("announcement", frame.message));
  }
}

function showError(text) {
  addLine(makeLine("error", text));
}

function showSending({ message, client_id }) {
  const frame = { username, message, sent_at: new Date().toISOString() };
  const state = document.createElement("small");
  state.textContent = " sending…";
  const line = makeLine("sending", timeOf(frame), " ", nameOf(frame), " ", textOf(frame), state);
  chatLog.append(line);
  sending.set(client_id, line);
  scrollDown();
}

function showNotSent({ client_id }, reason) {
  const line = sending.get(client_id);
  sending.delete(client_id);
  line.className = "error";
  line.querySelector("small").textContent = ` Not sent: ${reason}`;
  scrollDown();
}

// An https page may open wss: sockets only, so the socket follows the page.
const scheme = location.protocol === "https:" ? "wss:" : "ws:";
// 日本語, a space or a question mark: each has to be encoded to stand in a path.
const path = `/ws/chat/${encodeURIComponent(roomName)}/`;
// Whose page this is. If somebody else has signed in meanwhile, in another tab, the cookie is theirs:
// the server closes the socket, for what waits here must not be sent in their name.
const query = `?as=${encodeURIComponent(username)}`;
const page = { showStatus, showWaiting, showMessage, showSending, showNotSent, showError };
const conversation = new Conversation(`${scheme}//${location.host}${path}${query}`, page);

// The form's submit event, not a key: Enter that commits Japanese or Chinese input does not
// submit the form, so half a word is never sent.
function sendMessage(event) {
  event.preventDefault();
  if (conversation.signedOut) return; // what was written stays in the input
  conversation.send(messageInput.value);
  messageInput.value = "";
  messageInput.focus(); // a click on the button has taken it
}

document.querySelector("#chat-form").addEventListener("submit", sendMessage);
addEventListener("offline", () => conversation.networkChanged());
addEventListener("online", () => conversation.networkChanged());
// What is not acknowledged may be in this page alone: the browser asks before it is gone.
addEventListener("beforeunload", (event) => {
  if (sending.size > 0) event.preventDefault();
});
