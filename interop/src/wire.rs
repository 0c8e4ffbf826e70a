//! A wire between two hosts that takes its time, made of two TAP devices and this process.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, stdin, stdout},
    process::{Child, ChildStdin, ChildStdout},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_tun::Tun;

use crate::{Outcome, network::Host, process};

/// Larger than any Ethernet frame without segmentation offload, which TAP devices do not do unasked.
const MAX_FRAME: usize = 16 * 1024;

/// A wire. Dropping it cuts it.
#[derive(Debug)]
pub(crate) struct Wire {
    _taps: [Child; 2],
    _relays: JoinSet<()>,
}

impl Wire {
    /// Joins two hosts, each by an interface of this name and an address; each frame arrives
    /// so much later than it was sent.
    pub(crate) async fn new(ends: [(&Host, &str, &str); 2], delay: Duration) -> Outcome<Self> {
        let mut relays = JoinSet::new();
        let (one, from_one, to_one) = open(ends[0]).await?;
        let (other, from_other, to_other) = open(ends[1]).await?;
        for (from, to) in [(from_one, to_other), (from_other, to_one)] {
            let (late, frames) = mpsc::unbounded_channel();
            relays.spawn(take(from, late, delay));
            relays.spawn(deliver(frames, to));
        }
        Ok(Self {
            _taps: [one, other],
            _relays: relays,
        })
    }
}

async fn open(
    (host, interface, address): (&Host, &str, &str),
) -> Outcome<(Child, BufReader<ChildStdout>, ChildStdin)> {
    let mut tap = process::on(host, &["tap", interface])?
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| format!("can't start a wire: {error}"))?;
    let (Some(input), Some(output)) = (tap.stdin.take(), tap.stdout.take()) else {
        return Err("a wire without pipes".to_owned());
    };
    let mut output = BufReader::new(output);
    // An empty frame says that the device is there.
    let first = read_frame(&mut output).await;
    if first.is_none_or(|frame| !frame.is_empty()) {
        return Err("there is no TAP device: is /dev/net/tun there?".to_owned());
    }
    host.configure(interface, address)?;
    Ok((tap, output, input))
}

type Late = (Instant, Vec<u8>);

async fn take(
    mut from: BufReader<ChildStdout>,
    late: mpsc::UnboundedSender<Late>,
    delay: Duration,
) {
    while let Some(frame) = read_frame(&mut from).await {
        if late.send((Instant::now() + delay, frame)).is_err() {
            return;
        }
    }
}

async fn deliver(mut frames: mpsc::UnboundedReceiver<Late>, mut to: ChildStdin) {
    while let Some((due, frame)) = frames.recv().await {
        sleep_until(due).await;
        if write_frame(&mut to, &frame).await.is_none() {
            return;
        }
    }
}

/// One end of a wire, on its host: frames go between a TAP device and the pipes, each after its
/// length in two bytes.
pub(crate) async fn tap(name: &str) -> Outcome {
    let tap = Tun::builder().name(name).tap().build();
    let tap = tap.map_err(|error| format!("no TAP device {name}: {error}"))?;
    let tap = tap.first().ok_or("no TAP device")?;
    let (mut input, mut output) = (BufReader::new(stdin()), stdout());
    let outwards = async {
        write_frame(&mut output, &[]).await?;
        let mut buffer = vec![0; MAX_FRAME];
        loop {
            match tap.recv(&mut buffer).await {
                Ok(len) => write_frame(&mut output, buffer.get(..len)?).await?,
                // It is not up yet, or not any more.
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let inwards = async {
        while let Some(frame) = read_frame(&mut input).await {
            // What an interface that is down does not take is lost, as on any wire.
            let _ = tap.send(&frame).await;
        }
    };
    tokio::select! {
        None::<()> = outwards => {}
        () = inwards => {}
    }
    Ok(())
}

async fn read_frame(from: &mut (impl AsyncReadExt + Unpin)) -> Option<Vec<u8>> {
    let len = from.read_u16().await.ok()?;
    let mut frame = vec![0; usize::from(len)];
    from.read_exact(&mut frame).await.ok()?;
    Some(frame)
}

async fn write_frame(to: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Option<()> {
    let len = u16::try_from(frame.len()).ok()?;
    to.write_u16(len).await.ok()?;
    to.write_all(frame).await.ok()?;
    to.flush().await.ok()
}
