//! HTTP servers of a test, each on a port of its own.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

/// Answers each request with what it was, and `/broken` with 500.
pub(crate) fn serve(name: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut reader = BufReader::new(connection.try_clone().unwrap());
                let mut connection = connection;
                while answer(name, &mut reader, &mut connection).is_some() {}
            });
        }
    });
    port
}

fn answer(name: &str, reader: &mut BufReader<TcpStream>, connection: &mut TcpStream) -> Option<()> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let header = |wanted: &str| {
        let of = |line: &String| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case(wanted).then(|| value.to_owned())
        };
        lines.iter().find_map(of).unwrap_or_default()
    };
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let said = format!(
        "{name}: {} host={} type={} x={} body={body}\n",
        lines[0],
        header("host"),
        header("content-type"),
        header("x-test"),
    );
    let status = if lines[0].contains("/broken") {
        "500 Internal Server Error"
    } else {
        "200 OK"
    };
    let len = said.len();
    write!(
        connection,
        "HTTP/1.1 {status}\r\ncontent-length: {len}\r\n\r\n{said}"
    )
    .ok()
}

/// Lets this answer the first request of each connection, by its first line.
pub(crate) fn serve_by(answer: impl Fn(&str, TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                let lines = BufReader::new(connection.try_clone().unwrap()).lines();
                let lines = lines.map_while(Result::ok);
                let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
                if let Some(first) = head.first() {
                    answer(first, connection);
                }
            });
        }
    });
    port
}
