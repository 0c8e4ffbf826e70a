//! The crate mdns-sd.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::foreign::{Instance, Program, Seen};
use crate::Outcome;

const TYPE: &str = "_vine._tcp.local.";

/// An answer that others may give, too, waits for so long at most (RFC 6762, section 6). This program
/// writes it when it is asked: what it withdraws meanwhile comes back with the answer.
const ANSWERS: Duration = Duration::from_millis(120);

pub(super) struct MdnsSd {
    daemon: ServiceDaemon,
    names: HashMap<String, String>,
}

impl MdnsSd {
    pub(super) fn start() -> Outcome<Self> {
        let daemon = ServiceDaemon::new().map_err(|error| error.to_string())?;
        Ok(Self {
            daemon,
            names: HashMap::new(),
        })
    }
}

impl Program for MdnsSd {
    async fn publish(&mut self, instance: Instance) -> Outcome {
        let info = ServiceInfo::new(
            &of(instance.subtype.as_deref()),
            &instance.label,
            "mdns-sd.local.",
            &*instance.host,
            instance.port,
            &*instance.txt,
        );
        let info = info.map_err(|error| error.to_string())?;
        let name = info.get_fullname().to_owned();
        self.names.insert(instance.label, name);
        self.daemon
            .register(info)
            .map_err(|error| error.to_string())
    }

    async fn publish_many(&mut self, instances: Vec<Instance>) -> Outcome {
        for instance in instances {
            self.publish(instance).await?;
            // It refuses more commands at once than its queue holds.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    async fn withdraw(&mut self, label: &str) -> Outcome {
        let name = self.names.remove(label).ok_or("it is not registered")?;
        tokio::time::sleep(ANSWERS).await;
        let done = self.daemon.unregister(&name);
        let done = done.map_err(|error| error.to_string())?;
        done.recv_async().await.map_err(|error| error.to_string())?;
        Ok(())
    }

    fn browse(&mut self, subtype: Option<&str>) -> Outcome<UnboundedReceiver<Seen>> {
        let events = self
            .daemon
            .browse(&of(subtype))
            .map_err(|error| error.to_string())?;
        let (sender, receiver) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok(event) = events.recv_async().await {
                let seen = match event {
                    ServiceEvent::ServiceResolved(service) => resolved(&service),
                    ServiceEvent::ServiceRemoved(_, label) => Some(Seen::Removed { label }),
                    _ => None,
                };
                if seen.is_some_and(|seen| sender.send(seen).is_err()) {
                    return;
                }
            }
        });
        Ok(receiver)
    }

    fn process(&self) -> u32 {
        std::process::id()
    }

    async fn close(self) -> Outcome {
        let names: Vec<_> = self.names.into_values().collect();
        for name in names {
            let done = self.daemon.unregister(&name);
            let done = done.map_err(|error| error.to_string())?;
            done.recv_async().await.map_err(|error| error.to_string())?;
        }
        let done = self.daemon.shutdown().map_err(|error| error.to_string())?;
        done.recv_async().await.map_err(|error| error.to_string())?;
        Ok(())
    }
}

fn of(subtype: Option<&str>) -> String {
    subtype.map_or_else(|| TYPE.to_owned(), |sub| format!("{sub}._sub.{TYPE}"))
}

fn resolved(service: &ResolvedService) -> Option<Seen> {
    let address = service.get_addresses_v4().into_iter().next()?;
    let mut txt = BTreeMap::new();
    for property in service.txt_properties.iter() {
        txt.insert(property.key().to_owned(), property.val_str().to_owned());
    }
    Some(Seen::Resolved {
        label: service.fullname.clone(),
        host: address.to_string(),
        port: service.port,
        txt,
    })
}
