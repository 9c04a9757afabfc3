//! A card that says what a test tells it to.

use std::collections::VecDeque;

use zeroize::Zeroizing;

use super::{Protocol, Transport, TransportError};

/// Expects commands in order and answers each as told.
pub(crate) struct Script {
    steps: VecDeque<(String, String)>,
    protocol: Protocol,
    pub(crate) power_cycles: usize,
}

impl Script {
    /// Pairs of command and answer in hex; `*` takes any command.
    pub(crate) fn new(steps: &[(&str, &str)]) -> Self {
        let own =
            |(command, answer): &(&str, &str)| (command.replace(' ', ""), answer.replace(' ', ""));
        Self {
            steps: steps.iter().map(own).collect(),
            protocol: Protocol::T0,
            power_cycles: 0,
        }
    }

    pub(crate) fn t1(mut self) -> Self {
        self.protocol = Protocol::T1;
        self
    }

    pub(crate) fn finished(&self) -> bool {
        self.steps.is_empty()
    }
}

impl Transport for Script {
    fn transmit(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, TransportError> {
        let Some((want, answer)) = self.steps.pop_front() else {
            return Err(TransportError::Removed(None));
        };
        if want != "*" {
            assert_eq!(hex::encode_upper(command), want.to_uppercase());
        }
        Ok(Zeroizing::new(hex::decode(answer).unwrap()))
    }

    fn power_cycle(&mut self) -> Result<(), TransportError> {
        self.power_cycles += 1;
        Ok(())
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }
}

/// A card that answers the same for ever.
pub(crate) struct Same(pub(crate) Vec<u8>);

impl Transport for Same {
    fn transmit(&mut self, _: &[u8]) -> Result<Zeroizing<Vec<u8>>, TransportError> {
        Ok(Zeroizing::new(self.0.clone()))
    }

    fn power_cycle(&mut self) -> Result<(), TransportError> {
        Ok(())
    }

    fn protocol(&self) -> Protocol {
        Protocol::T1
    }
}
