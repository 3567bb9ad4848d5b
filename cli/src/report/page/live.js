// Keeps a page up to date that `cargo wren report --serve` serves: the server says when there is newer data. Other
// pages do not contain this file.

function follow() {
  const state = element("span", { role: "status" });
  const pause = element("button", { type: "button", id: "pause", "aria-pressed": "false" }, "Pause");
  $("about").after(element("p", { id: "live", className: "note" }, state, " ", pause));
  let newest = report.live, isConnected = true, isLoading = false, isPaused = false;

  function showState() {
    let text = report.job.state === "running" ? "Live." : "The job has ended.";
    if (!isConnected) text = "The command that serves this page has ended.";
    if (isPaused) text = "Paused.";
    // A screen reader speaks each change.
    if (state.textContent !== text) state.textContent = text;
  }

  async function update() {
    if (isLoading || isPaused || document.hidden) return;
    isLoading = true;
    try {
      while (newest !== report.live) {
        const answer = await fetch("./");
        if (!answer.ok) break;
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const data = JSON.parse(page.getElementById("data").textContent);
        // The server may have newer data by now than it has announced.
        newest = Math.max(newest, data.live);
        showReport(data);
      }
    } catch {
      // The connection is broken, which the event source reports too.
    }
    isLoading = false;
    showState();
  }

  const events = new EventSource("events");
  events.addEventListener("message", ({ data }) => {
    newest = Math.max(newest, Number(data));
    update();
  });
  events.addEventListener("open", () => ((isConnected = true), showState()));
  events.addEventListener("error", () => ((isConnected = false), showState()));
  document.addEventListener("visibilitychange", update);
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", isPaused);
    showState();
    update();
  });
  showState();
}

follow();
