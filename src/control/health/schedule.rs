//! The task that starts the checks that are due. A check is a task of its own only while it is under way, so that 100,000
//! backends cost memory for what is known of them and for the few thousand that are being asked at any moment.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};

use super::board::{Board, ProbeId, Start};
use super::check::{Answer, Checker};
use super::locked;

/// Checks that are started under one hold of the lock.
const PER_TURN: usize = 256;

/// A check that has ended.
type Ended = (ProbeId, Answer);

/// Starts checks, `most` at a time, until it is aborted; those under way end with it.
pub async fn run(board: Arc<Mutex<Board>>, bell: Arc<Notify>, most: usize) {
    let checker = Arc::new(Checker::default());
    let mut under_way = JoinSet::new();
    loop {
        let due = start(&board, &checker, &mut under_way, most);
        let room = under_way.len() < most;
        let sleep = async {
            match due.filter(|_| room) {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(ended) = under_way.join_next() => {
                let mut board = locked(&board);
                note(&mut board, ended);
                for _ in 1..PER_TURN {
                    match under_way.try_join_next() {
                        Some(ended) => note(&mut board, ended),
                        None => break,
                    }
                }
            }
            () = sleep => {}
            () = bell.notified() => {}
        }
    }
}

/// Starts what is due. When the next check is.
fn start(
    board: &Mutex<Board>,
    checker: &Arc<Checker>,
    under_way: &mut JoinSet<Ended>,
    most: usize,
) -> Option<Instant> {
    let mut board = locked(board);
    for _ in 0..PER_TURN.min(most.saturating_sub(under_way.len())) {
        let now = Instant::now();
        let Some(Start { id, question, through }) = board.take_due(now) else { break };
        let checker = Arc::clone(checker);
        let abort = under_way.spawn(async move { (id, checker.ask(&question, through.as_ref()).await) });
        board.began(id, abort, now);
    }
    board.next_due()
}

fn note(board: &mut Board, ended: Result<Ended, JoinError>) {
    // What was aborted is not wanted any more.
    if let Ok((id, answer)) = ended {
        board.ended(id, answer, Instant::now());
    }
}
