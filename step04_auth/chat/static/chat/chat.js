// Open a socket to the room, send what the person writes, show what the room hears.

const connectionStatus = document.querySelector("#connection-status");
const chatLog = document.querySelector("#chat-log");
const messageInput = document.querySelector("#chat-message-input");
const SIGNED_OUT = 4001; // the server's close code for strangers
const roomName = JSON.parse(document.querySelector("#room-name").textContent);

// An https page may open wss: sockets only, so the socket follows the page.
const scheme = location.protocol === "https:" ? "wss:" : "ws:";
// 日本語, a space or a question mark: each has to be encoded to stand in a path.
const path = `/ws/chat/${encodeURIComponent(roomName)}/`;
const socket = new WebSocket(`${scheme}//${location.host}${path}`);

function showStatus(state, text) {
  connectionStatus.dataset.state = state;
  connectionStatus.textContent = text;
}

function showLine(className, ...parts) {
  const line = document.createElement("p");
  line.className = className;
  // append() takes a string as text, never as HTML: a message is somebody's words.
  line.append(...parts);
  chatLog.append(line);
  chatLog.scrollTop = chatLog.scrollHeight;
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

function receiveFrame(event) {
  const frame = JSON.parse(event.data);
  if ("error" in frame) {
    showLine("error", frame.error);
  } else {
    showLine("message", timeOf(frame), " ", nameOf(frame), " ", textOf(frame));
  }
}

// The form's submit event, not a key: Enter that commits Japanese or Chinese input does not
// submit the form, so half a word is never sent.
function sendMessage(event) {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN) return; // what was written stays in the input
  socket.send(JSON.stringify({ message: messageInput.value }));
  messageInput.value = "";
  messageInput.focus(); // a click on the button has taken it
}

socket.addEventListener("open", () => showStatus("open", "Connected"));
socket.addEventListener("message", receiveFrame);
// A browser tells a script nothing about an error but the close event that follows it.
socket.addEventListener("close", (event) =>
  showStatus(
    "closed",
    event.code === SIGNED_OUT
      ? "Signed out. Reload the page to sign in."
      : `Closed (code ${event.code}). Reload the page to connect again.`,
  ),
);
document.querySelector("#chat-form").addEventListener("submit", sendMessage);
