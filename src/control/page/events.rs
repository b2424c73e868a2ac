//! The status every second, to all who follow: made once, and only while somebody does.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::http::Extensions;
use axum::response::sse::{Event, Sse};
use futures_util::stream::{self, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::Brief;
use crate::control::api::Source;
use crate::control::serve::Stage;

/// Browsers that may follow at a time.
const FOLLOWERS: usize = 16;
/// Between two events.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is sent: JSON; empty until there is any.
type News = watch::Receiver<Arc<str>>;

/// Who follows.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    places: Arc<Semaphore>,
    /// Gone once nobody follows any more.
    news: Arc<Mutex<Weak<News>>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(FOLLOWERS)), news: Arc::default() }
    }
}

/// One who follows.
struct Follower {
    news: News,
    /// Whoever makes the events goes on while anybody holds this.
    _wanted: Arc<News>,
    _place: OwnedSemaphorePermit,
    stage: Option<Stage>,
}

impl Feed {
    /// The events from now on. None while too many follow.
    pub fn follow(
        &self,
        source: &Source,
        extensions: &Extensions,
    ) -> Option<Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let stage = extensions.get::<Stage>().cloned();
        if let Some(stage) = &stage {
            stage.stream();
        }
        let wanted = self.news(source);
        let mut news = News::clone(&wanted);
        news.mark_changed();
        let follower = Follower { news, _wanted: wanted, _place: place, stage };
        Some(Sse::new(stream::unfold(follower, next)))
    }

    fn news(&self, source: &Source) -> Arc<News> {
        let mut held = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(news) = held.upgrade() {
            return news;
        }
        let (sender, receiver) = watch::channel(Arc::from(""));
        let news = Arc::new(receiver);
        *held = Arc::downgrade(&news);
        tokio::spawn(make(sender, source.clone()));
        news
    }
}

/// Makes the events for as long as there are receivers.
async fn make(sender: watch::Sender<Arc<str>>, source: Source) {
    let mut seconds = tokio::time::interval(INTERVAL);
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = seconds.tick() => {}
            () = sender.closed() => return,
        }
        match serde_json::to_string(&Brief::from(source.status().await)) {
            Ok(text) => drop(sender.send(text.into())),
            Err(error) => tracing::debug!(%error, "a status cannot be sent"),
        }
    }
}

async fn next(mut follower: Follower) -> Option<(Result<Event, Infallible>, Follower)> {
    loop {
        follower.news.changed().await.ok()?;
        let text = Arc::clone(&follower.news.borrow_and_update());
        if !text.is_empty() {
            follower.stage.iter().for_each(Stage::send);
            return Some((Ok(Event::default().data(text.as_ref())), follower));
        }
    }
}
