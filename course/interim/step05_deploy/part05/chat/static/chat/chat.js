// Show the conversation: what the room says, and whether there is a connection.

import { Conversation } from "./conversation.js";

const connectionStatus = document.querySelector("#connection-status");
const chatLog = document.querySelector("#chat-log");
const messageInput = document.querySelector("#chat-message-input");
const roomName = JSON.parse(document.querySelector("#room-name").textContent);
const username = JSON.parse(document.querySelector("#username").textContent);
const MAX_LINES = 1000; // in the log

function showStatus(state, text) {
  connectionStatus.dataset.state = state;
  connectionStatus.textContent = text;
}

function showLine(className, ...parts) {
  const line = document.createElement("p");
  line.className = className;
  // append() adds a string as text, never as HTML, so a message cannot run a script.
  line.append(...parts);
  chatLog.append(line);
  while (chatLog.childElementCount > MAX_LINES) chatLog.firstElementChild.remove();
  scrollDown();
}

// Scroll once before the browser draws, not for each line: thousands may come at once.
function scrollDown() {
  requestAnimationFrame(() => (chatLog.scrollTop = chatLog.scrollHeight));
}

function timeOf(frame) {
  const time = document.createElement("time");
  // An announcement is not stored, and has no time of its own.
  const date = new Date(frame.sent_at ?? Date.now());
  time.dateTime = date.toISOString();
  time.textContent = date.toLocaleTimeString([], { timeStyle: "short" });
  return time;
}

// Isolate the name too, for the same reason as the text.
function nameOf(frame) {
  const name = document.createElement("b");
  name.dir = "auto";
  name.textContent = frame.username;
  return name;
}

// Isolate a person's text. Otherwise Hebrew or Arabic text changes the order of the
// line.
function textOf(frame) {
  const text = document.createElement("bdi");
  text.textContent = frame.message;
  return text;
}

function showMessage(frame) {
  if ("seq" in frame) {
    showLine("message", timeOf(frame), " ", nameOf(frame), " ", textOf(frame));
  } else {
    showLine("announcement", textOf(frame));
  }
}

function showError(text) {
  showLine("error", text);
}

// A browser lets an https: page open wss: sockets only, so the scheme follows the
// page.
const scheme = location.protocol === "https:" ? "wss:" : "ws:";
// 日本語, a space or a question mark must be encoded in a path.
const path = `/ws/chat/${encodeURIComponent(roomName)}/`;
// The page's user. If somebody else signs in with this browser, the server refuses us.
const query = `?as=${encodeURIComponent(username)}`;
const conversation = new Conversation(`${scheme}//${location.host}${path}${query}`, {
  showStatus,
  showMessage,
  showError,
});

// Enter also confirms Japanese or Chinese input. A key listener would send half a
// word; the form's submit event does not fire then.
function sendMessage(event) {
  event.preventDefault();
  if (!conversation.send(messageInput.value)) return; // the text stays in the input
  messageInput.value = "";
  messageInput.focus(); // clicking the button moved the focus: give it back
}

document.querySelector("#chat-form").addEventListener("submit", sendMessage);
addEventListener("offline", () => conversation.networkChanged());
addEventListener("online", () => conversation.networkChanged());
