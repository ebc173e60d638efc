//! Devices: where captures get their packet sockets from.

use postern_core::{Direction, Observer};

use super::device::Device;
use super::reserve::Reserve;
use super::{CaptureError, CaptureSettings};

/// Opens packet sockets when they are asked for, or hands out those that were opened before.
pub struct Devices(Mode);

enum Mode {
    Direct,
    Reserved(Box<Reserve>),
}

impl Devices {
    /// Each is opened when it is asked for, so this process must keep CAP_NET_RAW.
    #[must_use]
    pub const fn direct() -> Self {
        Self(Mode::Direct)
    }

    /// All that will ever be used are opened now: afterwards this process needs no capability, and captures open no socket.
    ///
    /// `places` are the interfaces and directions that are wanted at the start; those that are missing are served as soon as they come. Each
    /// costs 12 MiB of memory, and but for `any` 2 MiB for the spare that takes its place when the interface has gone and come back. There are
    /// `more` spares, of 2 MiB each, for places that become wanted later. A capture that finds none left is refused
    /// ([`CaptureError::NoSpare`]) for as long as that is so; the first time `when_exhausted` is called, on its thread: only another process
    /// can open more.
    ///
    /// # Errors
    ///
    /// [`CaptureError::NotPermitted`] without CAP_NET_RAW; [`CaptureError::Pcap`] and [`CaptureError::Reserve`] if the system has no room.
    pub fn reserved(
        places: impl IntoIterator<Item = (String, Direction)>,
        more: usize,
        when_exhausted: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, CaptureError> {
        let reserve = Reserve::open(places, more, Box::new(when_exhausted))?;
        Ok(Self(Mode::Reserved(Box::new(reserve))))
    }

    pub(super) fn open(
        &self,
        settings: &CaptureSettings,
        observer: &dyn Observer,
    ) -> Result<Device, CaptureError> {
        match &self.0 {
            Mode::Direct => Device::open(settings, observer),
            Mode::Reserved(reserve) => reserve.take(settings, observer),
        }
    }

    /// Takes a device back that is not used any more.
    pub(super) fn put_back(&self, device: Device) {
        match &self.0 {
            Mode::Direct => {}
            Mode::Reserved(reserve) => reserve.put_back(device),
        }
    }
}
