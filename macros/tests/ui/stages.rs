// mistakes: 4
trait MapReduce {}

#[wren::mapreduce]
fn count() {}

struct Generic<T>(T);

#[wren::mapreduce(memroy = 512)]
impl<T> MapReduce for Generic<T> {}

struct Other;

#[wren::bsp]
impl Clone for Other {
    fn clone(&self) -> Self {
        Other
    }
}

fn main() {}
