//! Independent servers, which `make stand-ins` installs below `target/`.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use wren::deployment::{Code, DeployedFn, Deployment, FORMAT, LambdaFn};

fn stand_ins() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/stand-ins");
    assert!(folder.join("done").exists(), "the stand-ins are not installed: run `make stand-ins` once");
    folder
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn wait_for(port: u16) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(Instant::now() < deadline, "nothing listens on port {port}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A process that ends with its owner.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct Moto {
    _server: Server,
    port: u16,
}

impl Moto {
    pub(crate) fn start() -> Self {
        let port = free_port();
        let mut server = Command::new(stand_ins().join("bin/moto_server"));
        server.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Server(server.spawn().unwrap());
        wait_for(port);
        let bucket = http(port, "PUT", "/wren-test", "");
        assert!(bucket.starts_with("HTTP/1.1 200"), "{bucket}");
        Self { _server: server, port }
    }
}

fn http(port: u16, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

struct Environment {
    folder: PathBuf,
    rie: u16,
}

static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();

fn the_environment() -> &'static Environment {
    ENVIRONMENT.get().unwrap()
}

/// Returns the folder of the driver, with its deployment.
pub(crate) fn environment() -> &'static Path {
    &the_environment().folder
}

/// Sets the addresses of the servers for this process and its children, and records a deployment.
pub(crate) fn set_environment(moto: &Moto) {
    let rie = free_port();
    let folder = std::env::temp_dir().join(format!("wren-lambda-test-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let lambda = format!("http://127.0.0.1:{rie}");
    for (name, value) in [
        ("AWS_ENDPOINT_URL_LAMBDA", lambda.as_str()),
        ("AWS_ENDPOINT_URL_S3", &format!("http://127.0.0.1:{}", moto.port)),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("WREN_STORE", ""),
    ] {
        // SAFETY: the tests have not started, and no other thread of this process reads environment variables.
        unsafe { std::env::set_var(name, value) };
    }
    let functions = wren::registry::all().unwrap().into_iter().map(|f| DeployedFn {
        name: f.name.into(),
        signature: f.signature.into(),
        body_hash: f.body_hash,
        memory_mb: f.memory_mb,
        timeout: f.timeout,
    });
    let deployment = Deployment {
        format: FORMAT,
        name: "test".into(),
        program: "-p wren-cloud --test lambda".into(),
        region: "us-east-1".into(),
        account: "123456789012".into(),
        endpoint: Some(lambda),
        store: "s3://wren-test/test".into(),
        role: "arn:aws:iam::123456789012:role/test".into(),
        lambdas: vec![LambdaFn { name: "function".into(), memory_mb: 3538, timeout_s: 900 }],
        code: Code { sha256: String::new(), key: String::new(), bytes: 0, architecture: "x86_64".into() },
        keep_days: 30,
        // This emulator exits if it gets two invocations at once.
        concurrency: 1,
        functions: functions.collect(),
        sources: Vec::new(),
        deployed_unix_s: 0,
    };
    deployment.save(&folder.join(".wren")).unwrap();
    assert!(ENVIRONMENT.set(Environment { folder, rie }).is_ok());
}

pub(crate) fn clean_up() {
    let _ = fs::remove_dir_all(environment());
}

/// The Runtime Interface Emulator, which runs this program as `bootstrap`.
pub(crate) struct Rie(Server);

impl Rie {
    pub(crate) fn start(variables: &[(&str, &str)]) -> Self {
        let folder = environment().join("task");
        fs::create_dir_all(&folder).unwrap();
        let bootstrap = folder.join("bootstrap");
        if !bootstrap.exists() {
            std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &bootstrap).unwrap();
        }
        let port = the_environment().rie;
        let mut rie = Command::new(binary());
        rie.args(["--runtime-interface-emulator-address", &format!("127.0.0.1:{port}")]);
        rie.args(["--runtime-api-address", &format!("127.0.0.1:{}", free_port()), "./bootstrap"]);
        rie.current_dir(folder).env("WREN_STORE", "s3://wren-test/test").envs(variables.iter().copied());
        rie.env("AWS_LAMBDA_FUNCTION_NAME", "function").env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST");
        if std::env::var_os("RIE_OUTPUT").is_none() {
            rie.stdout(Stdio::null()).stderr(Stdio::null());
        }
        let server = Server(rie.spawn().unwrap());
        wait_for(port);
        Self(server)
    }

    pub(crate) fn is_ancestor_of(&self, mut pid: u32) -> bool {
        while pid > 1 && pid != self.0.0.id() {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let after = stat.rsplit(") ").next().unwrap_or_default();
            pid = after.split(' ').nth(1).and_then(|ppid| ppid.parse().ok()).unwrap_or(0);
        }
        pid > 1
    }

    /// Sends a payload and returns the answer.
    pub(crate) fn post(&self, payload: &str) -> String {
        http(the_environment().rie, "POST", "/2015-03-31/functions/function/invocations", payload)
    }
}

/// Returns the path of the emulator. The wheel of the SAM CLI contains it for both architectures.
fn binary() -> PathBuf {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    let name = format!("site-packages/samcli/local/rapid/aws-lambda-rie-{arch}");
    let mut pythons = fs::read_dir(stand_ins().join("lib")).unwrap().flatten().map(|python| python.path().join(&name));
    pythons.find(|path| path.exists()).unwrap()
}
