//! A small HTTP server on loopback that answers as it is told, or misbehaves, and remembers what it was asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a request may be.
const MAX_REQUEST: usize = 16 << 10;

/// A question as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    fields: BTreeMap<String, String>,
}

impl Request {
    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let field = |line: &str| {
            Some((line.split_once(": ")?.0.to_ascii_lowercase(), line.split_once(": ")?.1.to_owned()))
        };
        (words.next() == Some("HTTP/1.1")).then(|| Self {
            method,
            path,
            fields: lines.filter_map(field).collect(),
        })
    }

    /// A header field; its name in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(&'static str, &'static str)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn text(body: &str) -> Self {
        Self { status: 200, fields: Vec::new(), body: body.to_owned() }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, fields: Vec::new(), body: "no".to_owned() }
    }

    pub(crate) fn with_field(mut self, name: &'static str, value: &'static str) -> Self {
        self.fields.push((name, value));
        self
    }
}

/// How it answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behaviour {
    /// As it is told.
    Answers(fn(&Request) -> Reply),
    /// As it is told, but 404 where the path contains the word.
    AnswersBut(fn(&Request) -> Reply, &'static str),
    /// The same to everything.
    Says(&'static str),
    /// Not at all.
    Silent,
    /// An octet now and then.
    Drips,
    /// Without end.
    Endless,
    /// With a header field without end.
    EndlessHead,
    /// With what is no HTTP.
    Garbage,
    /// It closes.
    Closes,
    /// It promises more than it sends.
    CutsShort,
    /// It sends elsewhere.
    Redirects,
}

/// One that runs until it is dropped.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), behaviour).await
    }

    pub(crate) async fn start_at(address: SocketAddr, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = Arc::clone(&seen);
                // Whoever went away hears nothing.
                tokio::spawn(async move { serve(stream, behaviour, &seen).await.unwrap_or_default() });
            }
        });
        Self { address, requests, task }
    }

    /// What it was asked.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    behaviour: Behaviour,
    seen: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_REQUEST {
        head.push(stream.read_u8().await?);
    }
    let Some(request) = Request::parse(&String::from_utf8_lossy(&head)) else {
        return stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    };
    seen.lock().unwrap().push(request.clone());
    match behaviour {
        Behaviour::Answers(how) => answer(&mut stream, how(&request)).await,
        Behaviour::AnswersBut(_, word) if request.path.contains(word) => {
            answer(&mut stream, Reply::status(404)).await
        }
        Behaviour::AnswersBut(how, _) => answer(&mut stream, how(&request)).await,
        Behaviour::Says(text) => answer(&mut stream, Reply::text(text)).await,
        Behaviour::Silent => std::future::pending().await,
        Behaviour::Drips => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await?;
            loop {
                stream.write_all(b"x").await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Behaviour::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            loop {
                stream.write_all(&[b"1000\r\n".as_slice(), &[b'x'; 4096], b"\r\n"].concat()).await?;
            }
        }
        Behaviour::EndlessHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx-long: ").await?;
            loop {
                stream.write_all(&[b'x'; 4096]).await?;
            }
        }
        Behaviour::Garbage => stream.write_all(b"220 mx.example ESMTP\r\n\x00\xff\r\n\r\n").await,
        Behaviour::Closes => Ok(()),
        Behaviour::CutsShort => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}").await,
        Behaviour::Redirects => {
            stream
                .write_all(
                    b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
                )
                .await
        }
    }
}

async fn answer(stream: &mut TcpStream, reply: Reply) -> std::io::Result<()> {
    let fields: String = reply.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let Reply { status, body, .. } = reply;
    let text = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{fields}\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await
}
