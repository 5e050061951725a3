// Open a socket to the room, send each line, and show what the room says.

const connectionStatus = document.querySelector("#connection-status");
const chatLog = document.querySelector("#chat-log");
const messageInput = document.querySelector("#chat-message-input");
const roomName = JSON.parse(document.querySelector("#room-name").textContent);

// A browser lets an https: page open wss: sockets only, so the scheme follows the
// page.
const scheme = location.protocol === "https:" ? "wss:" : "ws:";
// 日本語, a space or a question mark must be encoded in a path.
const path = `/ws/chat/${encodeURIComponent(roomName)}/`;
const socket = new WebSocket(`${scheme}//${location.host}${path}`);

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
  chatLog.scrollTop = chatLog.scrollHeight;
}

function timeOf(frame) {
  const time = document.createElement("time");
  // An announcement is not stored, and has no time of its own.
  const date = new Date(frame.sent_at ?? Date.now());
  time.dateTime = date.toISOString();
  time.textContent = date.toLocaleTimeString([], { timeStyle: "short" });
  return time;
}

// Isolate a person's text. Otherwise Hebrew or Arabic text changes the order of the
// line.
function textOf(frame) {
  const text = document.createElement("bdi");
  text.textContent = frame.message;
  return text;
}

function receiveFrame(event) {
  const frame = JSON.parse(event.data);
  if ("error" in frame) {
    showLine("error", frame.error);
  } else if ("message" in frame) { // ignore frames that we do not know
    showLine("message", timeOf(frame), " ", textOf(frame));
  }
}

// Enter also confirms Japanese or Chinese input. A key listener would send half a
// word; the form's submit event does not fire then.
function sendMessage(event) {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN) return; // the text stays in the input
  socket.send(JSON.stringify({ message: messageInput.value }));
  messageInput.value = "";
  messageInput.focus(); // clicking the button moved the focus: give it back
}

socket.addEventListener("open", () => showStatus("open", "Connected"));
socket.addEventListener("message", receiveFrame);
// A browser tells a script nothing about an error. Only this event follows, with a
// code.
socket.addEventListener("close", (event) => {
  const text = `Closed (code ${event.code}). Reload the page to connect again.`;
  showStatus("closed", text);
});
document.querySelector("#chat-form").addEventListener("submit", sendMessage);
