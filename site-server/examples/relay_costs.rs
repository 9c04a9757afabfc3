//! What moving snapshots costs, simulated over real stores: `cargo xtask bench relay`.
//!
//! `relay_costs SEED USERS SITES DAYS FOLDER`. Three worlds live the same days: `mirroring` brings every snapshot to every
//! site, `patent` copies the whole snapshot to the site a user announces, `ours` brings what lacks there. Each site is a
//! real store: objects are put, records listed, lacking objects asked for and old snapshots forgotten by the code that
//! serves. An object's bytes are one for every 256 KiB it stands for; a day's records are dated by hand, since the store
//! asks the real clock. Prints one JSON object.
//!
//! The people: each has a home site and two others. 5 days of 7 they work, at home (70 %), at one of the two (25 %) or
//! anywhere (5 %); of all changes of site, 80 % are announced the evening before. A snapshot is 2 GiB at first; a day adds
//! some 80 MiB and makes half as much of the old needless.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use serde_json::json;
use site_api::{HeadInfo, Registration, peer::UserRecord, registration};
use site_server::{
    config::Layout,
    relay::lacking,
    retention::Retention,
    store::{DatabaseConfig, NewHead, ObjectsConfig, Origin, PutHeadOutcome, Store},
};
use snapshot::{
    id::{BaselineId, ObjectId, SiteId, UserId},
    keys::{SnapshotKeys, UserKey},
    record::{self, Record, SignedRecord},
};

/// What a byte in a store stands for.
const STANDS_FOR: u64 = 256 << 10;
/// Length of a full pack, which is one request.
const PACK_BYTES: u64 = 8 << 20;
/// Objects of a first snapshot and their length, in stored bytes: 16 of 128 MiB.
const FIRST: (u32, u64) = (16, 512);
/// Objects a day adds, and their longest.
const DAILY: (u32, u64) = (2, 320);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Numbers that follow from a seed.
struct Dice(blake3::OutputReader);

impl Dice {
    fn new(seed: u64, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("furoshiki bench relay v1");
        hasher
            .update(&seed.to_le_bytes())
            .update(purpose.as_bytes());
        Self(hasher.finalize_xof())
    }

    /// 0 to `below` - 1.
    fn throw(&mut self, below: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % below.max(1)
    }

    fn percent(&mut self, of_hundred: u64) -> bool {
        self.throw(100) < of_hundred
    }

    fn bytes(&mut self, len: u64) -> Bytes {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.0.fill(&mut bytes);
        bytes.into()
    }
}

/// How snapshots move.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Mirroring,
    Patent,
    Ours,
}

const SCHEMES: [(Scheme, &str); 3] = [
    (Scheme::Mirroring, "mirroring"),
    (Scheme::Patent, "patent"),
    (Scheme::Ours, "ours"),
];

#[derive(Default)]
struct Costs {
    traffic: u64,
    requests: u64,
    /// Of every day's end, added up.
    stored: u64,
    /// Days whose beginning waited for bytes from another site.
    waits: u64,
}

struct World {
    scheme: Scheme,
    sites: Vec<Site>,
    costs: Costs,
}

struct Site {
    id: SiteId,
    store: Store,
    clock: sqlx::SqlitePool,
}

struct Person {
    user: UserId,
    keys: SnapshotKeys,
    home: usize,
    others: [usize; 2],
    /// Where the newest snapshot was made.
    at: usize,
    seq: u64,
    record: Option<SignedRecord>,
    objects: Vec<(ObjectId, u64)>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = || -> Result<u64> {
        let text = arguments
            .next()
            .context("relay_costs SEED USERS SITES DAYS FOLDER")?;
        text.parse().with_context(|| format!("{text} is no number"))
    };
    let (seed, users, sites, days) = (number()?, number()?, number()?, number()?);
    let folder = PathBuf::from(
        arguments
            .next()
            .context("relay_costs SEED USERS SITES DAYS FOLDER")?,
    );
    let sites = usize::try_from(sites).context("so many sites")?;
    let mut worlds = Vec::new();
    for (scheme, name) in SCHEMES {
        worlds.push(World::new(scheme, &folder.join(name), sites).await?);
    }
    let mut dice = Dice::new(seed, "people");
    let mut people: Vec<Person> = (0..users)
        .map(|n| Person::new(n, &mut dice, sites))
        .collect();
    for world in &worlds {
        for site in &world.sites {
            for person in &people {
                site.store.merge_user(&person.as_record(site.id)).await?;
            }
        }
    }
    let begun = now_ms();
    let last = i64::try_from(days).context("so many days")?;
    let mut days_worked = 0;
    for day in 0..last {
        let date = begun - (last - day) * DAY_MS;
        for (n, person) in people.iter_mut().enumerate() {
            let mut dice = Dice::new(seed, &format!("day {day} of {n}"));
            if !dice.percent(71) {
                continue;
            }
            days_worked += 1;
            let to = person.goes(&mut dice, sites);
            let announced = dice.percent(80);
            for world in &mut worlds {
                world.arrive(person, to, announced).await?;
            }
            let new = person.works(&mut dice, to, date)?;
            for world in &mut worlds {
                world.save(person, &new).await?;
            }
        }
        for world in &mut worlds {
            world.night(date, begun).await?;
        }
        eprintln!("relay_costs: day {} of {last}", day + 1);
    }
    let worlds: HashMap<&str, _> = worlds
        .iter()
        .zip(SCHEMES)
        .map(|(world, (_, name))| (name, world.told(days)))
        .collect();
    println!(
        "{}",
        json!({ "days_worked": days_worked, "worlds": worlds })
    );
    Ok(())
}

impl Person {
    fn new(n: u64, dice: &mut Dice, sites: usize) -> Self {
        let mut user = [0; 16];
        dice.0.fill(&mut user);
        let user = UserId::new(user);
        let mut site = || usize::try_from(dice.throw(sites as u64)).unwrap_or(0);
        Self {
            user,
            keys: SnapshotKeys::derive(&UserKey::from_bytes([n.to_le_bytes()[0]; 32]), user, 1),
            home: site(),
            others: [site(), site()],
            at: 0,
            seq: 0,
            record: None,
            objects: Vec::new(),
        }
    }

    /// As it came from the site that registered him.
    fn as_record(&self, origin: SiteId) -> UserRecord {
        UserRecord {
            registration: Registration {
                format: registration::FORMAT.into(),
                version: registration::VERSION,
                user: self.user,
                name: format!("user {}", self.user),
                record_public_key: hex::encode(self.keys.record_public_key()),
                cards: Vec::new(),
                chain_b64: None,
                escrow_b64: None,
            },
            password_phc: "$argon2id$".into(),
            deleted: false,
            version: 1,
            origin,
            sign_in_epoch: 0,
            second_factor: None,
        }
    }

    fn goes(&self, dice: &mut Dice, sites: usize) -> usize {
        let [one, other] = self.others;
        match dice.throw(100) {
            0..70 => self.home,
            70..83 => one,
            83..95 => other,
            _ => usize::try_from(dice.throw(sites as u64)).unwrap_or(0),
        }
    }

    /// A day's work: new objects, with their bytes; the record lists them and what is still needed.
    fn works(&mut self, dice: &mut Dice, to: usize, date: i64) -> Result<Vec<(ObjectId, Bytes)>> {
        let (count, longest) = if self.seq == 0 { FIRST } else { DAILY };
        let new: Vec<(ObjectId, Bytes)> = (0..count)
            .map(|_| {
                let len = if self.seq == 0 {
                    longest
                } else {
                    1 + dice.throw(longest)
                };
                let bytes = dice.bytes(len.max(8));
                (ObjectId::of(&bytes), bytes)
            })
            .collect();
        if self.seq > 0 {
            for _ in 0..count / 2 {
                let at = dice.throw(self.objects.len() as u64);
                self.objects.swap_remove(usize::try_from(at).unwrap_or(0));
            }
        }
        self.objects
            .extend(new.iter().map(|(name, bytes)| (*name, bytes.len() as u64)));
        let mut packs = self.objects.clone();
        let manifests = packs.split_off(packs.len() - 1);
        self.seq += 1;
        let record = Record {
            user: self.user,
            epoch: 1,
            oldest: 1,
            seq: self.seq,
            previous: self.record.as_ref().map(SignedRecord::id),
            baseline: BaselineId::new([7; 32]),
            build_timestamp: 1_700_000_000,
            created_ms: date,
            pc: "pc".into(),
            manifests,
            packs,
        };
        self.record = Some(record.sign(&self.keys).context("sign a record")?);
        self.at = to;
        Ok(new)
    }
}

impl World {
    async fn new(scheme: Scheme, folder: &Path, sites: usize) -> Result<Self> {
        let mut all = Vec::new();
        for n in 0..sites {
            let layout = Layout::new(&folder.join(n.to_string()));
            let (rows, objects) = (DatabaseConfig::default(), ObjectsConfig::default());
            let store = Store::open(layout.clone(), &rows, &objects).await?;
            let id = SiteId::new([u8::try_from(n + 1).context("so many sites")?; 16]);
            store.claim(id).await?;
            let file = format!("sqlite:{}", layout.database().display());
            let clock = sqlx::SqlitePool::connect(&file)
                .await
                .context("open a database")?;
            all.push(Site { id, store, clock });
        }
        Ok(Self {
            scheme,
            sites: all,
            costs: Costs::default(),
        })
    }

    fn site(&self, n: usize) -> Result<&Site> {
        self.sites.get(n).context("no such site")
    }

    /// The user is at a site; his newest snapshot comes there if it is not, in time if he said so.
    async fn arrive(&mut self, person: &Person, to: usize, announced: bool) -> Result<()> {
        let Some(newest) = &person.record else {
            return Ok(());
        };
        if to == person.at {
            return Ok(());
        }
        let before = self.costs.traffic;
        match self.scheme {
            Scheme::Mirroring => return Ok(()),
            Scheme::Patent => self.bring(person, newest, to, true).await?,
            Scheme::Ours => self.bring(person, newest, to, false).await?,
        }
        if !announced && self.costs.traffic > before {
            self.costs.waits += 1;
        }
        Ok(())
    }

    /// What a relay does: the record, what lacks, or everything, and the record listed there.
    async fn bring(
        &mut self,
        person: &Person,
        newest: &SignedRecord,
        to: usize,
        everything: bool,
    ) -> Result<()> {
        let (from, to) = (self.site(person.at)?, self.site(to)?);
        let user = person.user;
        let (bytes, _) = from
            .store
            .record(user, newest.id())
            .await?
            .context("no record")?;
        let parsed = record::verify(&bytes, &person.keys.record_public_key()).context("verify")?;
        let listed: Vec<_> = parsed.objects().collect();
        let names: Vec<_> = listed.iter().map(|(object, _)| *object).collect();
        let missing: HashSet<_> = to
            .store
            .missing_objects(user, &names)
            .await?
            .into_iter()
            .collect();
        let here: HashSet<_> = if everything {
            HashSet::new()
        } else {
            names
                .into_iter()
                .filter(|name| !missing.contains(name))
                .collect()
        };
        let (fetch, _) = lacking(&listed, &here);
        let mut costs = (bytes.len() as u64, 1);
        for (object, len) in fetch {
            let stands_for = len * STANDS_FOR;
            costs.0 += stands_for;
            costs.1 += stands_for.div_ceil(PACK_BYTES);
            if missing.contains(&object) {
                put(
                    &to.store,
                    (user, object),
                    content(from, (user, object)).await?,
                    Origin::Relay,
                )
                .await?;
            }
        }
        let lacks = to
            .store
            .put_relayed_record(user, (newest.id(), parsed.seq), &bytes, &listed)
            .await?;
        ensure!(lacks.is_empty(), "a relay left something out");
        self.costs.traffic += costs.0;
        self.costs.requests += costs.1;
        Ok(())
    }

    /// The evening's save at the site where the user is.
    async fn save(&mut self, person: &Person, new: &[(ObjectId, Bytes)]) -> Result<()> {
        let newest = person.record.as_ref().context("no record")?;
        let site = self.site(person.at)?;
        for (object, bytes) in new {
            put(
                &site.store,
                (person.user, *object),
                bytes.clone(),
                Origin::Pc,
            )
            .await?;
        }
        let parsed = record::parse_unverified(newest.as_bytes()).context("parse a record")?;
        let listed: Vec<_> = parsed.objects().collect();
        let info = HeadInfo {
            epoch: 1,
            seq: parsed.seq,
            record: newest.id(),
            site: site.id,
            saved_ms: parsed.created_ms,
            pc: "pc".into(),
        };
        let outcome = site
            .store
            .put_head(&NewHead {
                user: person.user,
                expected: parsed.previous,
                info: info.clone(),
                bytes: newest.as_bytes(),
                objects: &listed,
            })
            .await?;
        ensure!(
            matches!(outcome, PutHeadOutcome::New(_)),
            "a save failed: {outcome:?}"
        );
        // Every scheme tells all sites where the newest snapshot is.
        let head = site_api::peer::HeadRecord {
            user: person.user,
            info,
        };
        for other in &self.sites {
            other.store.merge_head(&head).await?;
        }
        if self.scheme == Scheme::Mirroring {
            for to in (0..self.sites.len()).filter(|to| *to != person.at) {
                self.bring(person, newest, to, false).await?;
            }
        }
        Ok(())
    }

    /// What arrived today is dated today; what nobody needs is forgotten; what is stored is counted.
    async fn night(&mut self, date: i64, begun: i64) -> Result<()> {
        for site in &self.sites {
            sqlx::query("UPDATE records SET stored_ms = ? WHERE stored_ms >= ?")
                .bind(date)
                .bind(begun)
                .execute(&site.clock)
                .await
                .context("date the records of a day")?;
            site.store.retain(&Retention::default(), date).await?;
            let (_, bytes) = site.store.object_totals().await?;
            self.costs.stored += bytes * STANDS_FOR;
        }
        Ok(())
    }

    fn told(&self, days: u64) -> serde_json::Value {
        json!({
            "traffic_bytes": self.costs.traffic,
            "requests": self.costs.requests,
            "stored_bytes": self.costs.stored / days.max(1),
            "waits": self.costs.waits,
        })
    }
}

async fn put(store: &Store, name: (UserId, ObjectId), bytes: Bytes, origin: Origin) -> Result<()> {
    let size = Some(bytes.len() as u64);
    let pieces = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes)]);
    store.put_object(name, size, origin, pieces).await?;
    Ok(())
}

/// An object as the site that has it sends it.
async fn content(from: &Site, (user, object): (UserId, ObjectId)) -> Result<Bytes> {
    let stored = from
        .store
        .object(user, object)
        .await?
        .context("an object is gone")?;
    Ok(stored.open(0..stored.bytes()).await?.bytes().await?)
}

fn now_ms() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
