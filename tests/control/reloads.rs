//! Reloads and orders over a real kernel, in the namespaces of [`super::kernel`].

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinHandle;
use xswitch::control::client::{self, ClientError};
use xswitch::control::orders::{Change, Order, Outcome, Reload};
use xswitch::control::status::Status;
use xswitch::tables::Forwarding;

use super::fake::{Said, eventually, ip};
use super::kernel::{LIMIT, Running, sh, within_a_namespace};

namespace_tests!(
    a_reload_takes_effect_and_a_bad_file_changes_nothing,
    while_the_file_is_read_status_is_answered_and_orders_wait,
    a_reload_says_what_becomes_of_orders,
    a_reload_says_that_the_page_has_lost_its_token_and_a_dry_run_leaves_it_alone
);

impl Running {
    /// Changes the first backend's weight in the file.
    fn write_weight(&self, weight: u32) {
        self.config.lock().unwrap().as_mut().unwrap().services[0].backends[0].weight = weight;
    }

    /// What the control socket answers to this. The client blocks: it has a thread of its own.
    fn post(
        &self,
        path: &'static str,
        body: impl Serialize + Send + 'static,
    ) -> JoinHandle<Result<Outcome, ClientError>> {
        let socket = self.folder.path().join("xswitch.sock");
        tokio::task::spawn_blocking(move || client::post(&socket, path, &body))
    }

    async fn status(&self) -> Status {
        let socket = self.folder.path().join("xswitch.sock");
        tokio::task::spawn_blocking(move || client::get(&socket, "/v1/status")).await.unwrap().unwrap()
    }
}

/// The tests themselves: run by their namesakes above.
mod inside {
    use super::*;

    pub async fn a_reload_takes_effect_and_a_bad_file_changes_nothing() {
        let running = Running::start().await;
        eventually("it steers", LIMIT, || !running.dataplane.said().is_empty()).await;
        let weight = || running.dataplane.snapshot().backends[0].as_ref().map(|backend| backend.weight);
        let hang_up = || sh(&format!("kill -HUP {}", std::process::id()));
        let good = running.config.lock().unwrap().clone().unwrap();

        let mut changed = good.clone();
        changed.services[0].backends[0].weight = 9;
        changed.switch.max_connections = 1;
        let vip: IpAddr = ip("198.18.0.101");
        let mut second = changed.services[0].clone();
        (second.name, second.vip) = ("second".into(), (vip, 80).into());
        changed.services.push(second);
        *running.config.lock().unwrap() = Ok(changed);
        hang_up();
        eventually("the new weight", LIMIT, || weight() == Some(9)).await;
        let steered = || match running.dataplane.said().last() {
            Some(Said::Steer(steering)) => steering.vips.contains(&vip),
            _ => false,
        };
        eventually("the new service is steered", LIMIT, steered).await;

        *running.config.lock().unwrap() = Err("line 3: no such key".into());
        hang_up();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(weight() == Some(9) && steered());

        let mut overlapping = good.clone();
        overlapping.switch.snat_ports = (1024, 65535);
        *running.config.lock().unwrap() = Ok(overlapping);
        hang_up();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(weight() == Some(9) && steered(), "the kernel's own ports");

        let of_both_ways = || match running.dataplane.said().last() {
            Some(Said::Steer(steering)) => (!steering.replies.is_empty(), !steering.snat.is_empty()),
            _ => (false, false),
        };
        let mut nat = good.clone();
        nat.services[0].forwarding = Forwarding::Nat;
        *running.config.lock().unwrap() = Ok(nat);
        hang_up();
        eventually("answers of nat, and still of full NAT", LIMIT, || of_both_ways() == (true, true)).await;

        *running.config.lock().unwrap() = Ok(good);
        hang_up();
        eventually("connections of nat still get answers", LIMIT, || of_both_ways() == (true, true)).await;
        eventually("the service is no longer steered", LIMIT, || !steered()).await;
        eventually("the former weight", LIMIT, || weight() == Some(3)).await;
    }

    fn weigh(weight: u32) -> Order {
        let backend = Some("198.18.1.11:8080".parse().unwrap());
        Order { service: "web".into(), backend, change: Change::Weight(weight), save: false }
    }

    pub async fn while_the_file_is_read_status_is_answered_and_orders_wait() {
        let running = Running::start().await;
        let reading = running.gate.lock().await;
        running.write_weight(9);
        let reload = running.post("/v1/reload", Reload::default());
        eventually("the file is read", LIMIT, || running.reads.load(Ordering::Relaxed) == 1).await;
        let order = running.post("/v1/orders", weigh(7));
        assert_eq!(running.status().await.view_age_s, Some(0), "the loop answers");
        sh("ip neigh replace 198.18.1.12 lladdr 02:00:00:00:01:0c dev eth1 nud reachable");
        eventually("the network is followed", LIMIT, || running.resolved("198.18.1.12")).await;
        assert!(!reload.is_finished() && !order.is_finished());
        drop(reading);
        let changes = |answer: Result<Outcome, ClientError>| answer.unwrap().changes.join("\n");
        assert!(changes(reload.await.unwrap()).ends_with("weight 3 → 9"));
        assert!(changes(order.await.unwrap()).ends_with("weight 9 → 7"), "one after the other");
    }

    pub async fn a_reload_says_what_becomes_of_orders() {
        let running = Running::start().await;
        running.post("/v1/orders", weigh(7)).await.unwrap().unwrap();
        let weight = || running.dataplane.snapshot().backends[0].as_ref().map(|backend| backend.weight);
        let whose = "service \"web\": backend 198.18.1.11:8080:";
        let stays = running.post("/v1/reload", Reload::default()).await.unwrap().unwrap();
        assert_eq!(stays.kept, [format!("{whose} the order \"weight 7\" stays: the file says 3")]);
        assert!(stays.changes.is_empty() && stays.overruled.is_empty(), "{stays:?}");
        assert_eq!(weight(), Some(7));

        running.write_weight(5);
        for dry_run in [true, false] {
            let ends = running.post("/v1/reload", Reload { dry_run }).await.unwrap().unwrap();
            assert_eq!(ends.changes, [format!("{whose} weight 7 → 5")]);
            let said = format!("{whose} the order \"weight 7\" is overruled: the file says 5");
            assert_eq!((ends.overruled, ends.kept), (vec![said], vec![]));
            assert_eq!(weight(), Some(if dry_run { 7 } else { 5 }));
        }

        *running.config.lock().unwrap() = Err("line 3: no such key".into());
        for dry_run in [true, false] {
            let refused = running.post("/v1/reload", Reload { dry_run }).await.unwrap().unwrap_err();
            assert!(
                matches!(&refused, ClientError::Invalid(why) if why == "line 3: no such key"),
                "{refused}"
            );
        }
    }

    pub async fn a_reload_says_that_the_page_has_lost_its_token_and_a_dry_run_leaves_it_alone() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "0123456789abcdef").unwrap();
        sh(&format!("chmod 600 {}", token.display()));
        let running = Running::start_with(|config| {
            config.switch.status_listen = Some("127.0.0.1:0".parse().unwrap());
            config.switch.status_token_file = Some(token.clone());
        })
        .await;
        std::fs::remove_file(&token).unwrap();
        let reload = async |dry_run| running.post("/v1/reload", Reload { dry_run }).await.unwrap().unwrap();
        assert_eq!(reload(true).await.warnings, Vec::<String>::new());
        let warnings = reload(false).await.warnings;
        assert!(warnings.len() == 1 && warnings[0].contains("the status page only shows"), "{warnings:?}");
    }
}
