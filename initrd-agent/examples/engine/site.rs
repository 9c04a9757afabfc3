//! A real site: sign in with the card, then push and pull as a session does.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use initrd_agent::{
    apply::PackSource as _,
    capture::Previous,
    events::{Events, Stage},
    pull::{self, SitePacks},
    push::{Base, Push, Pushed, SiteGone, put_object},
    screen::{Language, Screen},
    signin,
    site::SiteClient,
};
use site_api::{
    PutHead, SignIn, SignInChallenge, SignInChallengeRequest, SignInRequest, path as api,
};
use snapshot::record::{Record, SignedRecord};
use zeroize::Zeroizing;

use crate::{
    BASELINE, PC,
    folder::Folder,
    person::{self, NAME, PASSWORD, Person},
};

/// The user at a site.
pub(crate) struct SignedIn(signin::SignedIn);

impl SignedIn {
    pub(crate) fn at(address: &str, ca: &Path, person: &Person) -> Result<Self> {
        let site = SiteClient::pinned(ca)?.meet(address)?;
        let request = SignInChallengeRequest {
            card: person.card,
            baseline: BASELINE,
        };
        let asked: SignInChallenge = site.post_json(
            "ask for a sign-in challenge",
            api::SIGN_IN_CHALLENGE,
            &request,
        )?;
        let request = SignInRequest {
            challenge: asked.challenge.clone(),
            proof_b64: person.answer(&asked)?,
            user: NAME.into(),
            password: PASSWORD.into(),
            pc: PC.into(),
            leases: false,
        };
        let answer: SignIn = site.post_json("sign in", api::SIGN_IN, &request)?;
        let token = Zeroizing::new(answer.token);
        Ok(Self(signin::SignedIn {
            site: site.signed_in(token.clone()),
            token,
            user: answer.user,
            name: answer.name,
            card: Some(person.card),
            keys: person::keys(),
            head: answer.head,
        }))
    }

    pub(crate) fn previous(&self) -> Option<Previous> {
        self.0.head.as_ref().map(|head| Previous {
            record: head.record,
            seq: head.seq,
        })
    }

    pub(crate) fn push(&self) -> Push {
        Push::new(self.0.site.clone(), SiteGone::GiveUp)
    }

    pub(crate) fn commit(&self, push: Push, signed: &SignedRecord) -> Result<()> {
        let base = Base {
            previous: self.previous().map(|previous| previous.record),
            pc: PC,
        };
        let pushed = push.commit(signed, &base)?;
        ensure!(pushed == Pushed::AtSite, "the site did not take the head");
        Ok(())
    }

    /// Sends a record of a folder and all it needs; gives the bytes of the objects.
    pub(crate) fn send(&self, folder: &Folder, signed: &[u8], person: &Person) -> Result<u64> {
        let record = person.verified(signed)?;
        for (id, bytes) in record.objects() {
            let sealed = folder
                .get(id, bytes)
                .map_err(|error| anyhow::anyhow!(error))?;
            put_object(&self.0.site, id, sealed.into())?;
        }
        let head = PutHead {
            expected: record.previous,
            record_b64: STANDARD.encode(signed),
            pc: PC.into(),
        };
        self.0.site.put_json("advance the head", api::HEAD, &head)?;
        Ok(record.total_bytes())
    }

    pub(crate) fn newest(&self) -> Result<Record> {
        let newest = pull::newest(&self.0, &screen())?;
        Ok(newest.context("nothing was saved yet")?.record)
    }

    pub(crate) fn packs(&self, record: &Record) -> SitePacks {
        SitePacks::new(&self.0.site, record, Events::default().begin(Stage::Pull))
    }
}

/// Nobody looks.
fn screen() -> Screen {
    Screen::blind(Events::default(), Language::English)
}
