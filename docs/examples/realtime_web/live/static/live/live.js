// Four ways to learn of the same events. Each way shows its events in its own row.

const last = JSON.parse(document.querySelector("#last").textContent);

function showEvent(way, event) {
  const item = document.createElement("span");
  const delay = Math.max(0, Math.round(Date.now() - event.at * 1000));
  item.textContent = `${event.id}: ${delay}`;
  document.getElementById(way).append(item);
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

async function getEvents(url) {
  const response = await fetch(url);
  return (await response.json()).events;
}

async function poll(after) {
  for (;;) {
    for (const event of await getEvents(`/poll/${after}/`)) {
      after = event.id;
      showEvent("polling", event);
    }
    await pause(1000);
  }
}

async function longPoll(after) {
  for (;;) {
    for (const event of await getEvents(`/long-poll/${after}/`)) {
      after = event.id;
      showEvent("long-polling", event);
    }
  }
}

function listen(after) {
  const source = new EventSource(`/stream/${after}/`);
  source.addEventListener("message", (message) => {
    showEvent("server-sent-events", JSON.parse(message.data));
  });
}

function openSocket() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}/ws/events/`);
  socket.addEventListener("message", (message) => {
    showEvent("websocket", JSON.parse(message.data));
  });
}

document.querySelector("#start").addEventListener("click", () => {
  fetch("/start/", { method: "POST" });
});
poll(last);
longPoll(last);
listen(last);
openSocket();
