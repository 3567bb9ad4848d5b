//! Measures how fast the S3 store transfers a large object, compared with the bare AWS SDK with the same parallelism.
//! Both run in turns, with the server that `AWS_ENDPOINT_URL` names.
//!
//!     cargo wren emulate -- cargo bench -p wren-cloud --features aws --bench store
//!
//! `make bench` runs this command.

use std::error::Error;
use std::ops::Range;
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};
use tokio::task::JoinSet;
use wren::store;

const BUCKET: &str = "wren-bench";
const SIZE: usize = 256 << 20;
const PART: usize = 8 << 20;
const PARALLEL: usize = 8;
const ROUNDS: usize = 7;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    if std::env::var_os("AWS_ENDPOINT_URL").is_none() {
        println!("AWS_ENDPOINT_URL is not set; use `make bench` to run this");
        return Ok(());
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let client = runtime.block_on(client());
    runtime.block_on(client.create_bucket().bucket(BUCKET).send())?;
    let store = store::open(&format!("s3://{BUCKET}/wren"))?;
    let value: Vec<u8> = (0..SIZE as u32).map(|i| (i ^ (i >> 9)) as u8).collect();
    let mut times: [Vec<Duration>; 4] = Default::default();
    for _ in 0..ROUNDS {
        let bytes = Bytes::from(value.clone());
        times[0].push(timed(|| runtime.block_on(put(&client, bytes)))?);
        times[1].push(timed(|| Ok(wren::block_on(store.put("large", &value))?))?);
        times[2].push(timed(|| {
            assert!(runtime.block_on(get(&client))? == value);
            Ok(())
        })?);
        times[3].push(timed(|| {
            assert!(wren::block_on(store.get("large"))? == value);
            Ok(())
        })?);
    }
    let [bare_put, wren_put, bare_get, wren_get] = times.map(|mut times| {
        times.sort_unstable();
        times[ROUNDS / 2].as_secs_f64()
    });
    for (what, bare, wren) in [("put", bare_put, wren_put), ("get", bare_get, wren_get)] {
        let rate = |seconds: f64| SIZE as f64 / seconds / 1e6;
        println!(
            "store_{what}: wren {:.0} MB/s, bare SDK {:.0} MB/s, ratio {:.2}",
            rate(wren),
            rate(bare),
            bare / wren
        );
    }
    Ok(())
}

fn timed(act: impl FnOnce() -> Outcome<()>) -> Outcome<Duration> {
    let start = Instant::now();
    act()?;
    Ok(start.elapsed())
}

async fn client() -> Client {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest()).http_client(http).load().await;
    Client::from_conf(aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build())
}

fn parts() -> impl Iterator<Item = Range<usize>> {
    (0..SIZE).step_by(PART).map(|start| start..(start + PART).min(SIZE))
}

async fn put(client: &Client, value: Bytes) -> Outcome<()> {
    let created = client.create_multipart_upload().bucket(BUCKET).key("bare").send().await?;
    let id = created.upload_id().unwrap_or_default().to_owned();
    let mut waiting = parts().zip(1..);
    let mut running = JoinSet::new();
    let mut done: Vec<CompletedPart> = Vec::new();
    loop {
        while running.len() < PARALLEL
            && let Some((range, number)) = waiting.next()
        {
            let part = client.upload_part().bucket(BUCKET).key("bare").upload_id(&id).part_number(number);
            let part = part.body(ByteStream::from(value.slice(range)));
            running.spawn(async move {
                let sent = part.send().await?;
                let part = CompletedPart::builder().part_number(number);
                let part = part.set_e_tag(sent.e_tag).set_checksum_crc32(sent.checksum_crc32);
                Outcome::Ok(part.build())
            });
        }
        match running.join_next().await {
            Some(part) => done.push(part??),
            None => break,
        }
    }
    done.sort_by_key(CompletedPart::part_number);
    let all = CompletedMultipartUpload::builder().set_parts(Some(done)).build();
    let complete = client.complete_multipart_upload().bucket(BUCKET).key("bare").upload_id(&id);
    complete.multipart_upload(all).send().await?;
    Ok(())
}

async fn get(client: &Client) -> Outcome<Vec<u8>> {
    let mut waiting = parts();
    let mut running = JoinSet::new();
    let mut rest = BytesMut::with_capacity(SIZE);
    let mut done = Vec::new();
    loop {
        while running.len() < PARALLEL
            && let Some(range) = waiting.next()
        {
            let after = rest.split_off(range.len());
            let mut buffer = std::mem::replace(&mut rest, after);
            let part = client.get_object().bucket(BUCKET).key("bare");
            let part = part.range(format!("bytes={}-{}", range.start, range.end - 1));
            running.spawn(async move {
                let mut answer = part.send().await?;
                while let Some(chunk) = answer.body.next().await {
                    buffer.extend_from_slice(&chunk?);
                }
                Outcome::Ok((range.start, buffer))
            });
        }
        match running.join_next().await {
            Some(part) => done.push(part??),
            None => break,
        }
    }
    done.sort_by_key(|(start, _)| *start);
    let mut whole = BytesMut::new();
    done.into_iter().for_each(|(_, part)| whole.unsplit(part));
    Ok(whole.into())
}
