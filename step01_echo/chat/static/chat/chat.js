// Open a socket to the server, send each line, and show the answers.

const connectionStatus = document.querySelector("#connection-status");
const chatLog = document.querySelector("#chat-log");
const messageInput = document.querySelector("#chat-message-input");

// A browser lets an https: page open wss: sockets only, so the scheme follows the
// page.
const scheme = location.protocol === "https:" ? "wss:" : "ws:";
const socket = new WebSocket(`${scheme}//${location.host}/ws/echo/`);

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
    showLine("message", textOf(frame));
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
