use serde::{Deserialize, Serialize};
use wren::mapreduce::{BoxError, Emitter, MapReduce, Output, Values};

#[derive(Serialize, Deserialize)]
struct Unregistered;

impl MapReduce for Unregistered {
    type Input = u64;
    type Key = u64;
    type Value = u64;
    type Output = u64;

    fn map(&self, _: u64, _: &mut Emitter<'_, Self>) -> Result<(), BoxError> {
        Ok(())
    }

    fn reduce(&self, _: u64, _: &mut Values<'_, u64>, _: &mut Output<u64>) -> Result<(), BoxError> {
        Ok(())
    }
}

fn main() {}
