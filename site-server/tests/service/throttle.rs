//! Strangers who guess passwords wait, whom they guess about does not, and nobody learns who has a name.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use rustix::time::{ClockId, clock_gettime};
use site_api::ProblemCode;
use site_server::{app::Site, auth::Cost, config::SiteConfig, front::Front, routes::RemoteAddress};
use snapshot::id::CardId;

use crate::support::{Answer, Person, TestSite, csrf, random};

/// A browser somewhere.
struct Browser<'a> {
    site: &'a TestSite,
    from: std::net::IpAddr,
    session: String,
    device: String,
}

impl<'a> Browser<'a> {
    fn at(site: &'a TestSite, from: &str) -> Self {
        Self {
            site,
            from: from.parse().unwrap(),
            session: String::new(),
            device: String::new(),
        }
    }

    async fn ask(&mut self, method: Method, at: &str, body: String) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(at)
            .header("host", "127.0.0.1:1")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("cookie", format!("{}; {}", self.session, self.device))
            .body(Body::from(body))
            .unwrap();
        request.extensions_mut().insert(RemoteAddress(self.from));
        let answer = self.site.send(request).await;
        for line in answer.headers.get_all("set-cookie") {
            let (pair, _) = line.to_str().unwrap().split_once(';').unwrap();
            if pair.starts_with("__Host-furoshiki-device=") {
                self.device = pair.to_owned();
            } else if pair.starts_with("__Host-furoshiki=") {
                self.session = pair.to_owned();
            }
        }
        answer
    }

    /// Opens the form once; guesses need no more.
    async fn form(&mut self) -> String {
        self.session.clear();
        csrf(&self.ask(Method::GET, "/", String::new()).await.text())
    }

    async fn sign_in(&mut self, user: &str, password: &str) -> StatusCode {
        let csrf = self.form().await;
        self.guess(user, password, &csrf).await
    }

    async fn guess(&mut self, user: &str, password: &str, csrf: &str) -> StatusCode {
        let password = password.replace(' ', "+");
        let body = format!("user={user}&password={password}&csrf={csrf}");
        self.ask(Method::POST, "/sign-in", body).await.status
    }
}

/// Too long to be hashed: it costs the test nothing.
const GUESS: &str = match std::str::from_utf8(&[b'x'; 300]) {
    Ok(text) => text,
    Err(_) => "",
};

/// Strangers, each somewhere else, who guess the password of hanako.
struct Bots<'a> {
    site: &'a TestSite,
    at: u32,
}

impl<'a> Bots<'a> {
    fn new(site: &'a TestSite) -> Self {
        Self {
            site,
            at: 0x0a00_0000,
        }
    }

    /// Until a guess that was looked at is followed by one that was not: the wait has just begun.
    async fn guess_until_told_to_wait(&mut self) {
        let mut before = StatusCode::TOO_MANY_REQUESTS;
        loop {
            self.at += 1;
            let from = std::net::Ipv4Addr::from(self.at).to_string();
            let mut bot = Browser::at(self.site, &from);
            let form = bot.form().await;
            let status = bot.guess("hanako", GUESS, &form).await;
            if before == 401 && status == 429 {
                return;
            }
            before = status;
        }
    }
}

#[tokio::test]
async fn a_stranger_who_guesses_waits_and_the_user_elsewhere_does_not() {
    let site = TestSite::new().await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let mut home = Browser::at(&site, "192.0.2.1");
    assert_eq!(home.sign_in("hanako", &hanako.password).await, 303);

    // From one /64, whatever the last bits are.
    let mut stranger = Browser::at(&site, "2001:db8::1");
    let form = stranger.form().await;
    for n in 1..=5 {
        stranger.from = format!("2001:db8::{n}").parse().unwrap();
        assert_eq!(stranger.guess("hanako", "guess", &form).await, 401);
    }
    stranger.from = "2001:db8::99".parse().unwrap();
    assert_eq!(stranger.guess("hanako", "guess", &form).await, 429);

    // Somewhere else, for the first time: another pair.
    let mut library = Browser::at(&site, "198.51.100.7");
    assert_eq!(library.sign_in("hanako", &hanako.password).await, 303);
    assert_eq!(home.sign_in("hanako", &hanako.password).await, 303);
}

#[tokio::test]
async fn guesses_from_everywhere_slow_strangers_down_and_not_who_signed_in_here_before() {
    let site = TestSite::new().await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let mut home = Browser::at(&site, "192.0.2.1");
    assert_eq!(home.sign_in("hanako", &hanako.password).await, 303);

    let mut bots = Bots::new(&site);
    let mut new_phone = Browser::at(&site, "198.51.100.7");
    let form = new_phone.form().await;
    bots.guess_until_told_to_wait().await;
    assert_eq!(
        new_phone.guess("hanako", &hanako.password, &form).await,
        429
    );

    // The browser that signed in before, wherever it is now; and the address, whichever browser is there.
    let mut away = Browser::at(&site, "198.51.100.8");
    away.device = home.device.clone();
    assert_eq!(away.sign_in("hanako", &hanako.password).await, 303);
    let mut other = Browser::at(&site, "192.0.2.1");
    assert_eq!(other.sign_in("hanako", &hanako.password).await, 303);

    // Its own wrong passwords count, and it forges no name of another.
    let form = away.form().await;
    for _ in 0..5 {
        assert_eq!(away.guess("hanako", GUESS, &form).await, 401);
    }
    assert_eq!(away.guess("hanako", GUESS, &form).await, 429);
    let mut forger = Browser::at(&site, "198.51.100.9");
    forger.device = format!("__Host-furoshiki-device={}", "ab".repeat(32));
    let form = forger.form().await;
    bots.guess_until_told_to_wait().await;
    assert_eq!(forger.guess("hanako", &hanako.password, &form).await, 429);
}

#[tokio::test]
async fn with_the_card_in_the_reader_no_stranger_holds_its_user_back() {
    let site = TestSite::new().await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    Bots::new(&site).guess_until_told_to_wait().await;
    site.sign_in(&hanako).await;
}

#[tokio::test]
async fn one_address_that_tries_many_names_waits() {
    let site = TestSite::new().await;
    let mut bot = Browser::at(&site, "203.0.113.1");
    let form = bot.form().await;
    let mut answers = Vec::new();
    for n in 0..103 {
        answers.push(bot.guess(&format!("user{n}"), GUESS, &form).await);
    }
    assert!(answers[..100].iter().all(|status| *status == 401));
    assert_eq!(answers[102], 429);
}

#[tokio::test]
async fn an_address_that_shows_unknown_cards_waits_and_known_cards_there_do_not() {
    let site = TestSite::new().await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    for _ in 0..20 {
        site.challenge(CardId::new(random()))
            .await
            .is(404, ProblemCode::UnknownCard);
    }
    let wait = site.challenge(CardId::new(random())).await;
    wait.is(429, ProblemCode::TooManyTries);
    assert!(!wait.header("retry-after").is_empty());
    site.sign_in(&hanako).await;
}

/// Time this process used on all processors.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Tries each of `whom` in turns with `guess`, which gives what its answer cost, and holds that none costs more than
/// another. Without the decoy a name nobody has costs a hundredth.
pub(crate) async fn assert_same_work<const N: usize, S>(
    whom: [&str; N],
    site: impl AsyncFn() -> S,
    guess: impl AsyncFn(&S, &str, &str) -> Work,
) {
    // Other tests run in the same process under `cargo test`, and only add: the least of each counts, and it takes more
    // rounds to see it where they are busy. A site makes who is guessed at wait after 50 of them: then another one goes on.
    const ROUNDS: u32 = 20;
    const SITES: u32 = 8;
    let mut least = [Duration::MAX; N];
    for _ in 0..SITES {
        let site = site().await;
        for round in 0..ROUNDS {
            for (n, (whom, least)) in whom.iter().zip(&mut least).enumerate() {
                // A place of its own for each, so that nobody waits.
                let work = guess(&site, whom, &format!("198.51.{round}.{n}")).await;
                *least = work.0.min(*least);
            }
        }
        let (dearest, cheapest) = (least.iter().max().unwrap(), least.iter().min().unwrap());
        if *dearest < *cheapest * 17 / 10 {
            return;
        }
    }
    panic!("{whom:?} took {least:?}");
}

/// What something cost this process.
pub(crate) struct Work(Duration);

impl Work {
    pub(crate) async fn of<T>(deed: impl Future<Output = T>) -> (T, Self) {
        let before = used();
        let done = deed.await;
        (done, Self(used() - before))
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_name_nobody_has_takes_the_work_of_a_wrong_password() {
    let site = async || {
        let site = TestSite::new().await;
        site.add(&Person::new("hanako")).await;
        site
    };
    assert_same_work(["hanako", "nobody"], site, async |site, user, from| {
        let mut browser = Browser::at(site, from);
        let form = browser.form().await;
        let (status, work) = Work::of(browser.guess(user, "a wrong password", &form)).await;
        assert_eq!(status, 401);
        work
    })
    .await;
}

/// The same site after the operator made hashes dearer, on the disk alone.
pub(crate) async fn with_dearer_hashes(site: TestSite) -> TestSite {
    let layout = site.site.layout.clone();
    let mut config = SiteConfig::load(&layout).unwrap();
    config.passwords = Cost {
        memory_kib: 24 << 10,
        passes: 2,
    };
    config.save(&layout).unwrap();
    let opened = Site::open(layout).await.unwrap();
    TestSite {
        second: None,
        dir: site.dir,
        app: Front::new(opened.clone()),
        site: opened,
    }
}

#[tokio::test]
async fn a_hash_is_renewed_at_the_next_right_password_on_the_disk() {
    let site = TestSite::new().await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let phc = async |site: &Site| {
        site.store
            .user(hanako.user)
            .await
            .unwrap()
            .unwrap()
            .password_phc
    };
    assert!(phc(&site.site).await.contains("m=19456,"));
    let dearer = with_dearer_hashes(site).await;
    let version = dearer
        .site
        .store
        .user_record(hanako.user)
        .await
        .unwrap()
        .unwrap()
        .version;
    dearer.sign_in(&hanako).await;
    assert!(phc(&dearer.site).await.contains("m=24576,"));
    dearer.sign_in(&hanako).await;
    // Of this site alone: no version that stands against a change of password elsewhere.
    let after = dearer
        .site
        .store
        .user_record(hanako.user)
        .await
        .unwrap()
        .unwrap()
        .version;
    assert_eq!(version, after);
}
