//! Whether a job was begun by another build of the program.
//!
//! A call's hash tells of its function and its arguments, and not of the code that the function calls. So the build of
//! the program that began a job is kept with it, under `<job>/build`. The first one stays: what it left may be among the
//! results whoever runs the job later.

use serde::{Deserialize, Serialize};

use super::record::damaged;
use crate::codec::envelope;
use crate::config::OtherBuild;
use crate::error::{Error, Result};
use crate::platform;
use crate::store::{Requests, unblock};

#[derive(Serialize, Deserialize)]
struct Build {
    /// Of the program's file.
    hash: u64,
}

/// Looks for another build that began the job; without one, this one did.
///
/// # Errors
/// [`Error::Job`] where another build is to be an error.
pub(crate) async fn check(requests: &Requests, id: &str, on_other: OtherBuild) -> Result<()> {
    let Some(hash) = unblock(platform::build).await? else { return Ok(()) };
    if begun_by(requests, id, hash).await? == hash {
        return Ok(());
    }
    let what = format!(
        "job `{id}` was begun by another build of this program: its remote functions are the same, but code that they \
         call may have changed, and results of then stay; to run it anew, give it another name or remove `{id}` from {}",
        requests.store().url()
    );
    on_other.tell(&what, "to go on with them").map_err(Error::Job)
}

async fn begun_by(requests: &Requests, id: &str, own: u64) -> Result<u64> {
    let key = format!("{id}/build");
    if requests.put_if_absent(key.clone(), envelope::seal(&Build { hash: own })?).await? {
        return Ok(own);
    }
    // One that is removed meanwhile begins again.
    let Some(sealed) = requests.find(key.clone()).await? else { return Ok(own) };
    let opened = envelope::open::<Build>(&sealed).map_err(|reason| damaged(&**requests.store(), &key, reason))?;
    Ok(opened.hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn a_job_of_another_build_goes_on_or_is_an_error() {
        let requests = Requests::new(MemoryStore::named("build-test"));
        let check = |on_other| check(&requests, "rates", on_other);
        check(OtherBuild::Error).await.unwrap();
        check(OtherBuild::Error).await.unwrap();
        let of_another = envelope::seal(&Build { hash: platform::build().unwrap() ^ 1 }).unwrap();
        requests.put("rates/build".to_owned(), of_another).await.unwrap();
        check(OtherBuild::Warn).await.unwrap();
        check(OtherBuild::Accept).await.unwrap();
        let error = check(OtherBuild::Error).await.unwrap_err().to_string();
        assert!(error.contains("job `rates` was begun by another build of this program"), "{error}");
        assert!(error.contains("WREN_OTHER_BUILD=accept") && error.contains("another name"), "{error}");
    }
}
