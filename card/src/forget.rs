//! Making a card forget its PIN: alike in every application, whatever else its VERIFY does.

use crate::{
    apdu::{Status, Transport},
    app::CardError,
};

/// P1 of a VERIFY without a PIN: whether one was verified, and that it be forgotten.
const ASK: u8 = 0x00;
const FORGET: u8 = 0xFF;

/// An application that can be asked whether it saw the PIN, and told to forget it.
pub(crate) trait Forget {
    /// Sends VERIFY without a PIN.
    fn verify_without_pin(&mut self, p1: u8) -> Result<Status, CardError>;

    /// Selects the application after the card lost power.
    fn select_again(&mut self) -> Result<(), CardError>;

    /// What carries the APDUs, and whether a PIN may have been verified and not forgotten since.
    fn state(&mut self) -> (&mut dyn Transport, &mut bool);

    /// Cuts the card's power: it forgets everything.
    fn power_cycle(&mut self) -> Result<(), CardError> {
        let (transport, unlocked) = self.state();
        transport
            .power_cycle()
            .map_err(|err| CardError::apdu("cut the card's power")(err.into()))?;
        *unlocked = false;
        self.select_again()
    }

    /// Makes the card forget the PIN.
    fn forget_pin(&mut self) -> Result<(), CardError> {
        // P1=FF is younger than many cards; those forget when they lose power.
        if self.verify_without_pin(FORGET)? == Status::OK {
            *self.state().1 = false;
            return Ok(());
        }
        self.power_cycle()
    }

    /// What the card says to a VERIFY without a PIN once it is locked; somebody before us may have left it open.
    ///
    /// # Errors
    /// [`CardError::StaysUnlocked`] after everything that locks a card.
    fn ask_locked(&mut self) -> Result<Status, CardError> {
        for power_too in [false, true] {
            let status = self.verify_without_pin(ASK)?;
            if status != Status::OK {
                return Ok(status);
            }
            if power_too {
                self.power_cycle()?;
            } else {
                self.forget_pin()?;
            }
        }
        match self.verify_without_pin(ASK)? {
            Status::OK => Err(CardError::StaysUnlocked),
            status => Ok(status),
        }
    }

    /// Forgets the PIN, if there may be one, before the application is let go. Best effort: the connection cuts the
    /// card's power when it ends.
    fn forget_at_last(&mut self) {
        if *self.state().1 {
            let _ = self.verify_without_pin(FORGET);
        }
    }
}
