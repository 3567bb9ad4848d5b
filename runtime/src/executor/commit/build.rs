//! Checks whether a job was started by another build of the program.
//!
//! A call's hash covers its function and its arguments, but not the code that the function calls. So the build of the
//! program that started a job is stored with it, under `<job>/build`. The first build stays there, because its results
//! may be among the job's results, no matter which build runs the job later.

use serde::{Deserialize, Serialize};

use super::record::damaged;
use crate::codec::envelope;
use crate::config::OtherBuild;
use crate::error::{Error, Result};
use crate::platform;
use crate::store::{Requests, unblock};

#[derive(Serialize, Deserialize)]
struct Build {
    /// Hash of the program's file.
    hash: u64,
}

/// Checks whether another build started the job. If no build is recorded, records this one.
///
/// # Errors
/// [`Error::Job`] if another build started the job and the settings make that an error.
pub(crate) async fn check(requests: &Requests, id: &str, on_other: OtherBuild) -> Result<()> {
    let Some(hash) = unblock(platform::build).await? else { return Ok(()) };
    if first_build(requests, id, hash).await? == hash {
        return Ok(());
    }
    let what = format!(
        "job `{id}` was started by another build of this program: its remote functions are the same, but code that \
         they call may have changed, and the job keeps its earlier results; to run it from scratch, give it another \
         name or remove `{id}` from {}",
        requests.store().url()
    );
    on_other.tell(&what, "to continue with them").map_err(Error::Job)
}

/// Returns the build that started the job. Records `own` if there is none.
async fn first_build(requests: &Requests, id: &str, own: u64) -> Result<u64> {
    let key = format!("{id}/build");
    if requests.put_if_absent(key.clone(), envelope::seal(&Build { hash: own })?).await? {
        return Ok(own);
    }
    // A job that is removed meanwhile starts from scratch.
    let Some(sealed) = requests.find(key.clone()).await? else { return Ok(own) };
    let opened = envelope::open::<Build>(&sealed).map_err(|reason| damaged(&**requests.store(), &key, reason))?;
    Ok(opened.hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn jobs_of_another_build_continue_or_fail() {
        let requests = Requests::new(MemoryStore::named("build-test"));
        let check = |on_other| check(&requests, "rates", on_other);
        check(OtherBuild::Error).await.unwrap();
        check(OtherBuild::Error).await.unwrap();
        let of_another = envelope::seal(&Build { hash: platform::build().unwrap() ^ 1 }).unwrap();
        requests.put("rates/build".to_owned(), of_another).await.unwrap();
        check(OtherBuild::Warn).await.unwrap();
        check(OtherBuild::Accept).await.unwrap();
        let error = check(OtherBuild::Error).await.unwrap_err().to_string();
        assert!(error.contains("job `rates` was started by another build of this program"), "{error}");
        assert!(error.contains("WREN_OTHER_BUILD=accept") && error.contains("another name"), "{error}");
    }
}
