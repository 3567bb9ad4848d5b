use super::*;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream as Stream};
use std::path::Path;

use crate::aws::block_on;
use crate::report::tests::{done, log};

/// Sends a request, and returns the reader of the answer, with the status and the header before the body.
fn request(address: &SocketAddr, line: &str, host: &str) -> (u16, String, BufReader<Stream>) {
    let mut stream = Stream::connect(address).unwrap();
    write!(stream, "{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut header = String::new();
    while !header.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut header).unwrap() > 0, "{header}");
    }
    (header[9..12].parse().unwrap(), header, reader)
}

/// Runs a server of this log, whose page is the number of the page and of the lines of the log.
fn with_server(lines: &str, test: impl FnOnce(&Path, SocketAddr, &str) + Send + 'static) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(LOG);
    fs::write(&path, lines).unwrap();
    let sources = Sources { folders: vec![folder.path().to_owned()], others: None };
    let create = Box::new({
        let path = path.clone();
        let sources = sources.clone();
        move |number| {
            let page = format!("page {number}: {}", fs::read_to_string(&path)?.lines().count());
            Ok((page.into_bytes(), sources.clone()))
        }
    });
    let run = async {
        let server = Server::start(0, sources, create).await?;
        let address = server.listener.local_addr()?;
        let token = server.shared.path.clone();
        assert!(address.ip().is_loopback());
        assert_eq!(server.address(), format!("http://{address}{token}"));
        let tested = tokio::task::spawn_blocking(move || test(&path, address, &token));
        tokio::select! { tested = tested => Ok(tested?), ran = server.run() => ran }
    };
    block_on(run).unwrap();
}

#[test]
fn only_requests_with_the_token_and_a_host_on_loopback_are_answered() {
    with_server(&log(1, &[]), |_, address, token| {
        assert_eq!(token.len(), 34);
        let own = address.to_string();
        let (status, header, mut body) = request(&address, &format!("GET {token}"), &own);
        let mut page = String::new();
        body.read_to_string(&mut page).unwrap();
        assert_eq!((status, page.as_str()), (200, "page 1: 1"));
        for line in ["referrer-policy: no-referrer", "cache-control: no-store", "x-content-type-options: nosniff"] {
            assert!(header.contains(line), "{header}");
        }
        let by_name = format!("LocalHost:{}", address.port());
        assert_eq!(request(&address, &format!("GET {token}"), &by_name).0, 200);
        let other = token.replace(|c| c != '/', "0");
        let refused = ["/", "/favicon.ico", "/events", &other, &format!("{other}events"), token.trim_end_matches('/')];
        for path in refused {
            assert_eq!(request(&address, &format!("GET {path}"), &own).0, 403, "{path}");
        }
        for host in ["evil.example", &format!("evil.example:{}", address.port()), "127.0.0.1", "127.0.0.1:1"] {
            assert_eq!(request(&address, &format!("GET {token}"), host).0, 403, "{host}");
            assert_eq!(request(&address, &format!("GET {token}events"), host).0, 403, "{host}");
        }
        assert_eq!(request(&address, &format!("POST {token}"), &own).0, 405);
        assert_eq!(request(&address, &format!("GET {token}other"), &own).0, 404);
    });
}

#[test]
fn browsers_learn_of_new_pages_and_a_log_that_stays_the_same_has_none() {
    with_server(&log(1, &[]), |path, address, token| {
        let own = address.to_string();
        let (status, header, events) = request(&address, &format!("GET {token}events"), &own);
        assert!(status == 200 && header.contains("content-type: text/event-stream"), "{header}");
        let mut numbers =
            events.lines().map_while(Result::ok).filter_map(|line| Some(line.strip_prefix("data: ")?.to_owned()));
        assert_eq!(numbers.next().as_deref(), Some("1"));
        let mut log = File::options().append(true).open(path).unwrap();
        writeln!(log, "{}", done(0, 1, [0; 7], 5)).unwrap();
        assert_eq!(numbers.next().as_deref(), Some("2"));
        let (_, _, mut body) = request(&address, &format!("GET {token}"), &own);
        let mut page = String::new();
        body.read_to_string(&mut page).unwrap();
        assert_eq!(page, "page 2: 2");
        // A driver that starts or dies changes the page too.
        rustix::fs::flock(&log, rustix::fs::FlockOperation::LockExclusive).unwrap();
        assert_eq!(numbers.next().as_deref(), Some("3"));
        drop(log);
        assert_eq!(numbers.next().as_deref(), Some("4"));
    });
}

#[test]
fn pages_that_take_long_are_rare() {
    let ms = Duration::from_millis;
    assert_eq!([ms(1), ms(50), ms(5_000)].map(rest), [UPDATE_EVERY, ms(5_000), LONGEST_REST]);
}
