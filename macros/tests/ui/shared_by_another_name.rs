use std::cell::RefCell;
use std::rc::Rc;

type Counter = Rc<RefCell<u64>>;

#[wren::remote]
fn count(text: &str, counters: Vec<Counter>) {
    *counters[0].borrow_mut() += text.len() as u64;
}

fn main() {
    let _ = count("a", vec![]);
}
