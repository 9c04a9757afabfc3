//! What a person sees on the screen of a running PC.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{PROMPT_SECONDS, RunningPc};
use crate::child;
use crate::menu::Menu;
use crate::picture::Picture;
use crate::wait;

/// A message to its code on the screen.
const CODE_SECONDS: u64 = 5;

impl RunningPc<'_> {
    /// Takes a picture of the screen until a reader of codes finds one in it; gives its text.
    ///
    /// # Errors
    /// There is no code in time; the last picture stays beside the logs.
    pub fn read_code_on_screen(&mut self) -> Result<String> {
        let deadline = self.deadline(CODE_SECONDS);
        let picture = self.pc.logs.join(format!("{}-screen.ppm", self.pc.name));
        self.reported(|machine| {
            loop {
                let filename = picture.display().to_string();
                machine
                    .qmp
                    .command("screendump", &json!({ "filename": filename }))?;
                let mut zbarimg = Command::new("zbarimg");
                zbarimg.args(["--quiet", "--raw"]).arg(&picture);
                // zbarimg(1): exit code 4 means there is no code in the picture.
                if let Ok(text) = child::output(&mut zbarimg) {
                    return Ok(text.trim().to_owned());
                }
                if deadline.passed() {
                    bail!("no code on the screen, see {}", picture.display());
                }
                wait::pause(deadline)?;
            }
        })
    }

    /// Takes pictures of the screen until one shows `what`, as `is_it` sees it; gives that one.
    ///
    /// # Errors
    /// None does in time; the last picture is kept.
    pub fn picture_with(
        &mut self,
        what: &str,
        is_it: impl Fn(&Picture) -> bool,
    ) -> Result<Picture> {
        let deadline = self.deadline(CODE_SECONDS);
        let file = self.pc.logs.join(format!("{}-screen.ppm", self.pc.name));
        self.reported(|machine| {
            loop {
                let filename = file.display().to_string();
                machine
                    .qmp
                    .command("screendump", &json!({ "filename": filename }))?;
                let bytes = fs::read(&file).with_context(|| format!("read {filename}"))?;
                // A picture that is being written is torn.
                if let Ok(picture) = Picture::parse(&bytes)
                    && is_it(&picture)
                {
                    return Ok(picture);
                }
                if deadline.passed() {
                    bail!("the screen does not show {what}, see {filename}");
                }
                wait::pause(deadline)?;
            }
        })
    }

    /// Waits until the console shows `text`, whoever writes it.
    ///
    /// # Errors
    /// It did not come in time, with the end of the console.
    pub fn expect_text(&mut self, text: &str) -> Result<()> {
        let deadline = self.deadline(PROMPT_SECONDS);
        self.reported(|machine| machine.console.expect_text(text, deadline))
    }

    /// A person at MokManager, when shim starts nothing: enrols the key in this file of the medium. The PC starts again
    /// and so is off.
    ///
    /// # Errors
    /// Shim did start something, or a menu is another, with the end of the console.
    pub fn enrol_in_mok_manager(mut self, medium: &str, path: &[&str]) -> Result<()> {
        let deadline = self.deadline(PROMPT_SECONDS);
        self.reported(|machine| {
            machine
                .console
                .expect_text("Security Violation", deadline)?;
            let mut menu = Menu::new(&mut machine.console);
            menu.choose("OK", deadline)?;
            menu.any_key("Press any key", deadline)?;
            let way = ["Enroll key from disk", medium];
            for item in way.iter().chain(path) {
                menu.choose(item, deadline)?;
            }
            for item in ["Continue", "Yes", "Reboot"] {
                menu.choose(item, deadline)?;
            }
            machine.wait_off(deadline)
        })
    }

    /// Everything the console showed so far.
    #[must_use]
    pub fn console_text(&self) -> String {
        self.machine.console.text()
    }
}
