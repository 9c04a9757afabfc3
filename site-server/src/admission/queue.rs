//! Turns, so many at a time. Who waits is served one user after another, however much each asks for.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use crate::error::{ApiError, ApiResult};

/// A user or a site.
pub(crate) type Who = [u8; 16];

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue {
    most: usize,
    each: usize,
    line: usize,
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    running_of: HashMap<Who, usize>,
    waiting: usize,
    waiting_of: HashMap<Who, VecDeque<oneshot::Sender<Turn>>>,
    /// Those who wait, each once; the first is next.
    order: VecDeque<Who>,
}

/// A turn, until it goes.
#[derive(Debug)]
pub(crate) struct Turn {
    who: Who,
    queue: Arc<Queue>,
}

impl Queue {
    /// `most` turns at a time, `each` of them for one; `line` may wait, each for so long.
    pub(crate) fn new(most: usize, each: usize, (line, patience): (usize, Duration)) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            each: each.max(1),
            line,
            patience,
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// 429 when the caller alone has a quarter of the line, 503 when the line is full or does not move.
    pub(crate) async fn enter(self: &Arc<Self>, who: Who) -> ApiResult<Turn> {
        let turn = {
            let mut state = self.state();
            if state.running < self.most && state.of(&who) < self.each {
                state.begin(who);
                return Ok(Turn {
                    who,
                    queue: self.clone(),
                });
            }
            let own = state.waiting_of.get(&who).map_or(0, VecDeque::len);
            if own >= self.line.div_ceil(4) {
                return Err(ApiError::too_many_requests());
            }
            if state.waiting >= self.line {
                return Err(ApiError::busy());
            }
            state.wait(who)
        };
        match timeout(self.patience, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(ApiError::busy()),
        }
    }

    /// How many have a turn, and how many wait.
    #[cfg(test)]
    fn load(&self) -> (usize, usize) {
        let state = self.state();
        (state.running, state.waiting)
    }

    /// Gives turns that are free to those who wait.
    fn go_on(self: &Arc<Self>) {
        loop {
            let next = self.state().next(self.most, self.each);
            let Some((who, waiting)) = next else { return };
            let queue = self.clone();
            // Who has gone meanwhile drops the turn, and it goes to another.
            drop(waiting.send(Turn { who, queue }));
        }
    }
}

impl State {
    fn of(&self, who: &Who) -> usize {
        self.running_of.get(who).copied().unwrap_or(0)
    }

    fn begin(&mut self, who: Who) {
        self.running += 1;
        *self.running_of.entry(who).or_default() += 1;
    }

    fn end(&mut self, who: Who) {
        self.running = self.running.saturating_sub(1);
        if let Some(running) = self.running_of.get_mut(&who) {
            *running -= 1;
            if *running == 0 {
                self.running_of.remove(&who);
            }
        }
    }

    fn wait(&mut self, who: Who) -> oneshot::Receiver<Turn> {
        let (sender, receiver) = oneshot::channel();
        let line = self.waiting_of.entry(who).or_default();
        if line.is_empty() {
            self.order.push_back(who);
        }
        line.push_back(sender);
        self.waiting += 1;
        receiver
    }

    /// The next that may begin; it counts as begun.
    fn next(&mut self, most: usize, each: usize) -> Option<(Who, oneshot::Sender<Turn>)> {
        for _ in 0..self.order.len() {
            if self.running >= most {
                return None;
            }
            let who = self.order.pop_front()?;
            let ready = self.of(&who) < each;
            let Some(line) = self.waiting_of.get_mut(&who) else {
                continue;
            };
            // Who does not wait any more is no reason to skip the others of the same user.
            let before = line.len();
            line.retain(|waiting| !waiting.is_closed());
            self.waiting -= before - line.len();
            let next = if ready { line.pop_front() } else { None };
            if line.is_empty() {
                self.waiting_of.remove(&who);
            } else {
                self.order.push_back(who);
            }
            if let Some(next) = next {
                self.waiting -= 1;
                self.begin(who);
                return Some((who, next));
            }
        }
        None
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.queue.state().end(self.who);
        self.queue.go_on();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, poll};

    use super::*;

    const GREEDY: Who = [1; 16];
    const MODEST: Who = [2; 16];
    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn one_who_asks_for_everything_does_not_keep_another_waiting() {
        let queue = Queue::new(2, 2, (100, LONG));
        let first = queue.enter(GREEDY).await.unwrap();
        let second = queue.enter(GREEDY).await.unwrap();
        let mut more: Vec<_> = (0..10).map(|_| Box::pin(queue.enter(GREEDY))).collect();
        for one in &mut more {
            assert!(poll!(one).is_pending());
        }
        let mut modest = Box::pin(queue.enter(MODEST));
        assert!(poll!(&mut modest).is_pending());
        assert_eq!(queue.load(), (2, 11));
        drop(first);
        drop(second);
        assert!(poll!(&mut modest).is_ready(), "second in line, not twelfth");
    }

    #[tokio::test]
    async fn a_turn_whose_owner_has_gone_is_given_to_another() {
        let queue = Queue::new(1, 1, (100, LONG));
        let first = queue.enter(GREEDY).await.unwrap();
        let mut gone = Box::pin(queue.enter(GREEDY));
        assert!(poll!(&mut gone).is_pending());
        let mut other = Box::pin(queue.enter(MODEST));
        assert!(poll!(&mut other).is_pending());
        drop(gone);
        drop(first);
        let turn = other.now_or_never().unwrap().unwrap();
        drop(turn);
        assert_eq!(queue.load(), (0, 0));
    }

    #[tokio::test]
    async fn a_full_line_is_said_at_once_and_one_that_does_not_move_in_time() {
        let queue = Queue::new(1, 1, (8, Duration::from_millis(20)));
        let _turn = queue.enter(GREEDY).await.unwrap();
        let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(queue.enter(GREEDY))).collect();
        for one in &mut waiting {
            assert!(poll!(one).is_pending());
        }
        let status = |turn: ApiResult<Turn>| turn.unwrap_err().status().as_u16();
        assert_eq!(status(queue.enter(GREEDY).await), 429);
        let mut others: Vec<_> = (10..16_u8)
            .map(|who| Box::pin(queue.enter([who; 16])))
            .collect();
        for one in &mut others {
            assert!(poll!(one).is_pending());
        }
        assert_eq!(status(queue.enter(MODEST).await), 503, "eight wait already");
        assert_eq!(status(others.remove(0).await), 503, "nothing moved");
    }
}
