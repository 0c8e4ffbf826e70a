//! A wire between hosts that takes its time and loses some, made of TAP devices and this process.

use std::{process::Stdio, sync::Arc, time::Duration};

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
    _taps: Vec<Child>,
    _relays: JoinSet<()>,
}

/// What a wire does to each frame on its way to each of the other ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quality {
    /// How much later it arrives than it was sent.
    pub(crate) delay: Duration,
    /// How many of a hundred do not arrive.
    pub(crate) loss: u8,
}

impl Wire {
    /// Joins hosts, each by an interface of this name and an address.
    pub(crate) async fn new(ends: &[(&Host, &str, &str)], quality: Quality) -> Outcome<Self> {
        let (mut taps, mut inputs, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
        for &end in ends {
            let (tap, output, input) = open(end).await?;
            let (late, frames) = mpsc::unbounded_channel();
            taps.push(tap);
            outputs.push(output);
            inputs.push((late, frames, input));
        }
        let mut relays = JoinSet::new();
        for (end, output) in outputs.into_iter().enumerate() {
            let others = inputs.iter().enumerate().filter(|(other, _)| *other != end);
            let others = others.map(|(_, (late, ..))| late.clone()).collect();
            relays.spawn(take(output, others, quality));
        }
        for (_, frames, input) in inputs {
            relays.spawn(deliver(frames, input));
        }
        Ok(Self {
            _taps: taps,
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

type Late = (Instant, Arc<[u8]>);

async fn take(
    mut from: BufReader<ChildStdout>,
    others: Vec<mpsc::UnboundedSender<Late>>,
    quality: Quality,
) {
    // The same frames are lost each time, as far as they are the same.
    let mut random = fastrand::Rng::with_seed(7);
    while let Some(frame) = read_frame(&mut from).await {
        let (due, frame) = (Instant::now() + quality.delay, Arc::from(frame));
        for other in &others {
            // One that is gone takes nothing any more.
            if random.u8(0..100) >= quality.loss {
                let _ = other.send((due, Arc::clone(&frame)));
            }
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
