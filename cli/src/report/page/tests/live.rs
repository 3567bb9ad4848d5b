//! Newer data for a page that is shown.

use serde_json::{Value, json};

use super::browser::Browser;
use super::{ordinary, range};

/// Calls the script's `showReport`, which no other script of the page can reach, with the data of another page.
fn show_report(browser: &mut Browser, page: &[u8]) {
    let page = String::from_utf8(page.to_vec()).unwrap();
    let (_, data) = page.split_once(r#"<script type="application/json" id="data">"#).unwrap();
    let data: Value = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
    let button = json!({ "expression": "document.querySelector('#legend button').onclick" });
    let button = browser.call("Runtime.evaluate", button)["result"]["objectId"].clone();
    let mut properties = |of: &Value| {
        let found = browser.call("Runtime.getProperties", json!({ "objectId": of, "ownProperties": true }));
        let all = |kind: &str| found[kind].as_array().cloned().unwrap_or_default();
        [all("internalProperties"), all("result")].concat()
    };
    let id = |one: &Value| one["value"]["objectId"].clone();
    let scopes = properties(&button).iter().find(|one| one["name"] == "[[Scopes]]").map(id).unwrap();
    let scopes: Vec<_> = properties(&scopes).iter().map(id).filter(|id| !id.is_null()).collect();
    let function = scopes.iter().flat_map(&mut properties).find(|one| one["name"] == "showReport").map(|one| id(&one));
    let call = json!({
        "objectId": function.unwrap(), "functionDeclaration": "function (data) { this(data); }",
        "arguments": [{ "value": data }],
    });
    let answer = browser.call("Runtime.callFunctionOn", call);
    assert!(answer["exceptionDetails"].is_null(), "{answer}");
}

#[test]
fn newer_data_keeps_zoom_selection_and_focus() {
    let mut log = ordinary();
    let mut browser = log.open();
    browser.click("#by-worker");
    browser.click("#linear");
    browser.click("#legend button:nth-child(7)");
    browser.click("#failed tbody tr:nth-child(2) button");
    assert!(browser.text("#detail").contains("Task 11"));
    browser.click("#zoom-in");
    browser.eval("document.querySelector('#slowest tbody tr:nth-child(3) button').focus()");
    let (zoom, focused) = (range(&mut browser), "document.activeElement.textContent");
    let button = browser.eval(focused);

    for task in 250..300 {
        log.done(task, 20 + task * 8, 3);
    }
    show_report(&mut browser, &log.page(Value::Null, &[]));
    assert!(browser.text("#facts").contains("Tasks done\n300"), "{}", browser.text("#facts"));
    assert_eq!(range(&mut browser), zoom);
    assert_eq!(browser.count("#by-worker[aria-pressed=true], #linear[aria-pressed=true]"), 2);
    assert_eq!(browser.count("#legend.alone button[aria-pressed=true]"), 1);
    assert!(browser.text("#detail").contains("Task 11"));
    assert_eq!(browser.eval(focused), button);
    assert_eq!(browser.count("#phases tbody tr"), 10);
    assert_eq!(browser.count("#legend button"), 10);

    // The whole job remains the whole job, and another attempt of the selected task appears.
    browser.click("#fit");
    log.line("done", 11, 3, 2_600, 10, Value::Null);
    show_report(&mut browser, &log.page(Value::Null, &[]));
    assert_eq!(range(&mut browser), (0.0, 2_612_000.0));
    assert!(browser.text("#detail").contains("Attempt 3: done"), "{}", browser.text("#detail"));
    browser.assert_quiet();
}
