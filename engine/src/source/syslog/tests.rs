//! The listeners as senders see them, and what of it reaches the pipeline.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::*;
use crate::source::spool::SPOOL_BYTES_MIN;

#[test]
fn messages_over_tcp_and_udp_reach_the_spool() {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = Arc::new(Spool::open(dir.path(), 0, SPOOL_BYTES_MIN, None).expect("a spool"));
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let (to_tcp, to_udp) = (
        tcp.local_addr().expect("an address"),
        udp.local_addr().expect("an address"),
    );
    let stop = Arc::new(AtomicBool::new(false));
    let (writing, taking, stopping) = (Arc::clone(&spool), Arc::clone(&spool), Arc::clone(&stop));
    let writer = std::thread::spawn(move || writing.write());
    let listener = std::thread::spawn(move || {
        run(Some(tcp), Some(udp), taking, &"s".into(), || {
            stopping.load(Ordering::Relaxed)
        })
        .expect("served");
    });

    let mut stream = TcpStream::connect(to_tcp).expect("connected");
    stream
        .write_all(b"<165>1 - h app 1 - - {\"n\":1}\n27 <34>1 - h app - - - {\"n\"")
        .expect("sent");
    std::thread::sleep(Duration::from_millis(20));
    stream.write_all(b":2}<13>last without an end").expect("sent");
    drop(stream);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    for datagram in ["<13>app: {\"n\":3}\n", "\n", "<13>two\nlines"] {
        socket.send_to(datagram.as_bytes(), to_udp).expect("sent");
    }
    let begun = Instant::now();
    while spool.records() < 5 && begun.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(10));
    }
    stop.store(true, Ordering::Relaxed);
    listener.join().expect("ended");
    spool.close();
    writer.join().expect("ended");
    let mut found: Vec<String> = Spool::read_all(dir.path())
        .iter()
        .map(|payload| {
            let attributes = payload.attributes.as_deref().into_iter().flatten();
            let name = attributes
                .filter(|(name, _)| &***name == "syslog.app_name")
                .map(|(_, value)| value.clone());
            let name: Vec<u8> = name.flatten().collect();
            format!(
                "{} {}",
                String::from_utf8_lossy(&name),
                String::from_utf8_lossy(&payload.bytes)
            )
        })
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            " last without an end",
            " two\nlines",
            "app {\"n\":1}",
            "app {\"n\":2}",
            "app {\"n\":3}"
        ]
    );
}
