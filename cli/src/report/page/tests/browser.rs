//! Controls Chromium with the DevTools protocol. Over pipes, the protocol only needs JSON and zero bytes, while the
//! crates that implement it contain code for all of its thousand messages.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
];

/// An element of the page, as a screen reader gets to know it.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) role: String,
    pub(super) name: String,
    /// Such as `focusable`, `pressed` and `live`.
    pub(super) properties: BTreeMap<String, Value>,
}

impl Node {
    fn of(node: &Value) -> Self {
        let text = |field: &str| node[field]["value"].as_str().unwrap_or_default().to_owned();
        let properties = node["properties"].as_array().into_iter().flatten();
        let property = |one: &Value| (one["name"].as_str().unwrap().to_owned(), one["value"]["value"].clone());
        Self { role: text("role"), name: text("name"), properties: properties.map(property).collect() }
    }

    pub(super) fn is(&self, property: &str) -> bool {
        self.properties.get(property).is_some_and(|value| *value == true)
    }
}

/// A page in a browser of its own.
pub(super) struct Browser {
    process: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    events: VecDeque<Value>,
    session: Option<String>,
    next: u64,
    folder: tempfile::TempDir,
}

fn chromium() -> PathBuf {
    let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|p| p.is_file());
    found.expect("cannot find Chromium, which these tests need: run `make chromium` once")
}

impl Browser {
    /// Opens a page from a file, as a double click does.
    pub(super) fn open(page: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report.html");
        std::fs::write(&file, page).unwrap();
        let errors = File::create(folder.path().join("stderr")).unwrap();
        // Chromium reads commands from file descriptor 3 and writes responses to 4.
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#]).arg(chromium()).args(FLAGS);
        command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut process = command.spawn().unwrap();
        let to = process.stdin.take().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let (messages, from) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while output.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                let sent = serde_json::from_slice(message.strip_suffix(&[0]).unwrap_or(&message))
                    .map(|message| messages.send(message));
                if !matches!(sent, Ok(Ok(()))) {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Self { process, to, from, events: VecDeque::new(), session: None, next: 0, folder };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.resize(1200, 1000);
        browser.call("Page.navigate", json!({ "url": url(&file) }));
        browser.wait_for("Page.loadEventFired");
        browser
    }

    /// Loads the page anew, with the browser's settings as they are now.
    pub(super) fn reload(&mut self) {
        self.events.retain(|event| event["method"] != "Page.loadEventFired");
        self.call("Page.reload", json!({}));
        self.wait_for("Page.loadEventFired");
    }

    /// Sets the size of the window.
    pub(super) fn resize(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Sets the reader's preferred theme: `light` or `dark`.
    pub(super) fn prefer(&mut self, theme: &str) {
        let preference = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.call("Emulation.setEmulatedMedia", preference);
    }

    /// Returns what a screen reader gets to know about the page.
    pub(super) fn tree(&mut self) -> Vec<Node> {
        self.eval("0");
        let tree = self.call("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().unwrap().iter();
        nodes.filter(|node| node["ignored"] == false).map(Node::of).collect()
    }

    /// Calls a method of the protocol.
    pub(super) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let mut message = message.to_string().into_bytes();
        message.push(0);
        let written = self.to.write_all(&message);
        assert!(written.is_ok(), "Chromium has exited: {}", self.errors());
        loop {
            let answer = self.receive();
            if answer["id"] == self.next {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            self.events.push_back(answer);
        }
    }

    fn receive(&self) -> Value {
        let message = self.from.recv_timeout(PATIENCE);
        message.unwrap_or_else(|error| panic!("no message from Chromium ({error}): {}", self.errors()))
    }

    /// Returns Chromium's standard error.
    fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    fn wait_for(&mut self, method: &str) {
        while !self.events.iter().any(|event| event["method"] == method) {
            let event = self.receive();
            self.events.push_back(event);
        }
    }

    /// Returns the value of an expression in the page, after pending frames are drawn.
    pub(super) fn eval(&mut self, expression: &str) -> Value {
        let drawn = "await new Promise((f) => requestAnimationFrame(() => requestAnimationFrame(f)));";
        let expression = format!("(async () => {{ {drawn} return ({expression}); }})()");
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", parameters);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Returns the text of the first element that matches.
    pub(super) fn text(&mut self, selector: &str) -> String {
        self.eval(&format!("document.querySelector({}).innerText", json!(selector))).as_str().unwrap().to_owned()
    }

    /// Returns the number of elements that match.
    pub(super) fn count(&mut self, selector: &str) -> u64 {
        self.eval(&format!("document.querySelectorAll({}).length", json!(selector))).as_u64().unwrap()
    }

    /// Clicks in the middle of the first element that matches.
    pub(super) fn click(&mut self, selector: &str) {
        let (x, y) = self.place(selector, 0.5, 0.5);
        self.mouse(&[("mousePressed", x, y), ("mouseReleased", x, y)]);
    }

    /// Scrolls to an element and returns the coordinates of a position in it, from 0 to 1 on both axes.
    pub(super) fn place(&mut self, selector: &str, x: f64, y: f64) -> (f64, f64) {
        let area = self.eval(&format!(
            "(e => {{ e.scrollIntoView({{ block: 'center' }}); const r = e.getBoundingClientRect(); \
             return [r.x + {x} * r.width, r.y + {y} * r.height]; }})(document.querySelector({}))",
            json!(selector)
        ));
        (area[0].as_f64().unwrap(), area[1].as_f64().unwrap())
    }

    pub(super) fn mouse(&mut self, events: &[(&str, f64, f64)]) {
        for (kind, x, y) in events {
            let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    pub(super) fn wheel(&mut self, (x, y): (f64, f64), delta: f64) {
        let event = json!({ "type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": delta });
        self.call("Input.dispatchMouseEvent", event);
    }

    pub(super) fn key(&mut self, key: &str) {
        // Without a code, the key does not do what the browser itself does, such as moving the focus.
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            _ => (0, ""),
        };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Asserts that the page has requested no other files and has reported no errors so far.
    pub(super) fn assert_quiet(&mut self) {
        self.eval("0");
        let own = url(&self.folder.path().join("report.html"));
        for event in &self.events {
            let quiet = match event["method"].as_str() {
                Some("Network.requestWillBeSent") => event["params"]["request"]["url"] == own.as_str(),
                Some("Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded") => false,
                Some("Page.javascriptDialogOpening") => false,
                _ => true,
            };
            assert!(quiet, "{event:#}");
        }
    }
}

fn url(file: &Path) -> String {
    format!("file://{}", file.display())
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Closed in this way, Chromium also ends its child processes, which would keep the folder in use.
        let _ = self.to.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        for _ in 0..100 {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
