//! What a screen reader, the keyboard and a small screen reach, in both themes.

use serde_json::{Value, json};

use super::browser::{Browser, Node};
use super::{Log, ordinary};

const DESKTOP: (u32, u32) = (1280, 900);
const PHONE: (u32, u32) = (390, 844);

/// Calls `check` with an ordinary page at each size and in each theme.
fn everywhere(mut check: impl FnMut(&mut Browser, u32)) {
    let mut browser = Browser::open(&ordinary().page(Value::Null, &[(7, "loading image 7")]));
    for (width, height) in [DESKTOP, PHONE] {
        for theme in ["light", "dark"] {
            println!("{width} pixels, {theme}");
            browser.resize(width, height);
            browser.prefer(theme);
            browser.reload();
            check(&mut browser, width);
        }
    }
    browser.assert_quiet();
}

fn find<'a>(tree: &'a [Node], role: &str, name: &str) -> &'a Node {
    let found = tree.iter().find(|node| node.role == role && node.name.starts_with(name));
    found.unwrap_or_else(|| {
        let all: Vec<_> = tree.iter().filter(|node| node.role == role).map(|node| &node.name).collect();
        panic!("no {role} is called {name}; there are {all:?}")
    })
}

/// Returns whether the top of the first element that matches, and `height` pixels below it, are on the screen.
fn is_in_view(browser: &mut Browser, selector: &str, height: u32) -> bool {
    let place = format!("document.querySelector({}).getBoundingClientRect()", json!(selector));
    let inside =
        format!("(r => r.top >= 0 && r.top + {height} <= innerHeight && r.left >= 0 && r.right <= innerWidth)");
    browser.eval(&format!("{inside}({place})")).as_bool().unwrap()
}

#[test]
fn everything_has_a_role_and_a_name() {
    everywhere(|browser, _| {
        browser.eval("tables.open = true");
        let tree = browser.tree();
        for node in tree.iter().filter(|node| node.is("focusable") && node.role != "RootWebArea") {
            assert!(!node.name.is_empty(), "the keyboard reaches this, but it has no name: {node:?}");
            assert_ne!(node.role, "generic", "the keyboard reaches this, but it has no role: {node:?}");
        }
        for (role, name) in [
            ("heading", "fit::train"),
            ("heading", "What failed"),
            ("status", ""),
            ("listbox", "Timeline of all attempts"),
            ("image", "Number of running functions over time"),
            ("image", "compute: median"),
            ("button", "By worker"),
            ("button", "Zoom in"),
            ("button", "Use the"),
            ("table", "Durations of the phases"),
            ("table", "What failed"),
            ("table", "Slowest attempts"),
            ("table", "Parts of the shown time"),
            ("table", "Attempts in the shown time"),
            ("columnheader", "Message"),
            ("rowheader", "compute"),
            ("button", "Task 7, attempt 2: details"),
            ("button", "Zoom in on 0 s to "),
            ("combobox", "by"),
        ] {
            find(&tree, role, name);
        }
        assert!(find(&tree, "button", "By start").properties["pressed"] == "true");
    });
}

#[test]
fn the_keyboard_reaches_the_timeline_its_rows_and_the_details() {
    everywhere(|browser, _| {
        let mut steps = 0;
        while browser.eval("document.activeElement.id") != "timeline" {
            browser.key("Tab");
            steps += 1;
            assert!(steps < 40, "the timeline cannot be reached with the tab key");
        }
        let outline = "(style => style.outlineStyle !== 'none' && style.outlineWidth !== '0px')";
        assert_eq!(browser.eval(&format!("{outline}(getComputedStyle(document.activeElement))")), true);
        browser.key("ArrowDown");
        let first = find(&browser.tree(), "option", "Task").clone();
        browser.key("ArrowDown");
        let tree = browser.tree();
        let second = find(&tree, "option", "Task");
        assert_ne!(first.name, second.name);
        assert!(second.name.contains("attempt 1: done, computed for"), "{}", second.name);
        let active = &find(&tree, "listbox", "Timeline").properties;
        assert!(active.contains_key("activedescendant"), "{active:?}");

        browser.key("Enter");
        assert_eq!(browser.eval("document.activeElement.id"), "detail");
        let tree = browser.tree();
        let details = find(&tree, "region", "Details of the selected task");
        assert!(details.is("focused") && details.properties["live"] == "polite", "{details:?}");
        assert!(second.name.starts_with(&browser.text("#detail h3")));
        browser.key("Escape");
        assert_eq!(browser.eval("[document.activeElement.id, detail.hidden]"), json!(["timeline", true]));

        // A task in a table is a button, to which the focus returns.
        browser.eval("document.querySelector('#failed tbody button').focus()");
        browser.key("Enter");
        assert_eq!(browser.eval("document.activeElement.id"), "detail");
        browser.key("Escape");
        assert_eq!(browser.eval("document.activeElement.closest('table').id"), "failed");
    });
}

#[test]
fn details_come_into_view() {
    everywhere(|browser, _| {
        for selector in ["#timeline", "#slowest tbody tr:nth-child(5) button"] {
            browser.click(selector);
            assert!(!browser.eval("detail.hidden").as_bool().unwrap(), "{selector}");
            assert!(is_in_view(browser, "#detail", 150), "{selector}");
            assert!(is_in_view(browser, "#detail h3", 20), "{selector}");
            browser.click("#detail button");
        }
    });
}

#[test]
fn failures_and_phases_are_readable_on_every_screen() {
    everywhere(|browser, width| {
        assert_eq!(browser.eval("document.documentElement.scrollWidth <= innerWidth"), true);
        // Task, outcome and message, without scrolling to the side.
        for column in 1..=3 {
            let cell = format!("#failed tbody tr:nth-child(4) > :nth-child({column})");
            browser.place(&cell, 0.0, 0.0);
            assert!(is_in_view(browser, &cell, 10), "column {column}");
        }
        let message = "document.querySelector('#failed tbody td.wide').clientWidth";
        assert!(browser.eval(message).as_f64().unwrap() >= 0.4 * f64::from(width));

        // The first column of the phases stays when the others are scrolled to.
        browser.place("#phases", 0.0, 0.0);
        browser.eval("phases.parentElement.scrollLeft = 10_000");
        let place = "document.querySelector('#phases tbody th').getBoundingClientRect()";
        let stays = format!("Math.abs({place}.left - phases.parentElement.getBoundingClientRect().left) < 1");
        assert_eq!(browser.eval(&stays), true);
        let last = "document.querySelector('#phases tbody td:last-child').getBoundingClientRect().right <= innerWidth";
        assert_eq!(browser.eval(last), true);
        let top = format!("document.elementFromPoint({place}.left + 30, {place}.top + 5).closest('th') !== null");
        assert_eq!(browser.eval(&top), true, "the first column is above the others");
    });
}

#[test]
fn texts_contrast_with_their_background() {
    everywhere(|browser, _| {
        browser.click("#failed tbody button");
        browser.eval("tables.open = true");
        // Contrast as in WCAG 2; 4.5 is the minimum for text.
        let faint = r#"(() => {
            const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
            const light = (colour) => {
                probe.clearRect(0, 0, 1, 1);
                probe.fillStyle = colour;
                probe.fillRect(0, 0, 1, 1);
                const [r, g, b, a] = probe.getImageData(0, 0, 1, 1).data;
                const linear = [r, g, b].map((n) => n / 255).map((n) => (n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4));
                return { a, light: 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] };
            };
            const behind = (element) => {
                for (let at = element; at; at = at.parentElement) {
                    const background = light(getComputedStyle(at).backgroundColor);
                    if (background.a > 0) return background.light;
                }
                return 1;
            };
            return [...document.querySelectorAll("h1, h2, h3, p, a, td, th, dt, dd, small, li, button, summary, pre, code, span")]
                .filter((element) => element.offsetParent && element.textContent.trim() && !element.closest(".alone"))
                .flatMap((element) => {
                    const [low, high] = [light(getComputedStyle(element).color).light, behind(element)].sort((a, b) => a - b);
                    const contrast = (high + 0.05) / (low + 0.05);
                    return contrast < 4.5 && !element.closest("[aria-disabled=true]") ? [`${element.textContent}: ${contrast}`] : [];
                });
        })()"#;
        assert_eq!(browser.eval(faint), json!([]));
    });
}

#[test]
fn of_many_attempts_the_slowest_and_the_failed_are_always_drawn() {
    let mut log = Log::of("many", 20_000);
    for task in 0..20_000 {
        log.done(task, 20 + task / 4, if task == 7_777 { 600 } else { 2 + task % 3 });
    }
    for task in [1_234, 13_579] {
        log.line("failed", task, 2, 30 + task / 4, 1, json!(["returned", "odd"]));
    }
    let mut browser = log.open();
    let rows = browser.text("#rows");
    let (drawn, rest) = rows.split_once(" of 20,002 rows drawn, the slowest and the failed always").unwrap();
    assert!(rest.contains("zoom in to see the others"), "{rows}");
    let drawn: usize = drawn.parse().unwrap();
    assert!((300..1_000).contains(&drawn), "{drawn}");
    // The table of attempts has the rows of the timeline.
    browser.eval("tables.open = true");
    let mut listed = Vec::new();
    loop {
        let page = browser.eval("[...document.querySelectorAll('#attempts tbody tr')].map(row => row.innerText.split('\\t').slice(0, 3).join(' '))");
        listed.extend(page.as_array().unwrap().iter().map(|row| row.as_str().unwrap().to_owned()));
        if browser.eval("later.getAttribute('aria-disabled')") == "true" {
            break;
        }
        browser.click("#later");
    }
    assert_eq!(listed.len(), drawn);
    for row in ["7,777 1 done", "1,234 2 × failed", "13,579 2 × failed"] {
        assert!(listed.iter().any(|listed| listed == row), "{row}: {listed:?}");
    }
    // Those between them are spread over the whole job.
    let first = |row: &String| row.split(' ').next().unwrap().replace(',', "").parse::<u32>().unwrap();
    for part in 0..20 {
        let range = part * 1_000..(part + 1) * 1_000;
        assert!(listed.iter().map(first).filter(|task| range.contains(task)).count() >= 5, "{range:?}");
    }
    // In a range with few attempts, all of them are drawn.
    for _ in 0..6 {
        browser.click("#zoom-in");
    }
    assert!(!browser.text("#rows").contains("drawn"), "{}", browser.text("#rows"));
    browser.assert_quiet();
}
