//! What programs that measure share: requests as fast as they are answered, programs whose CPU time and memory are counted, and tables of
//! figures. Linux only, because it reads `/proc` and waits by epoll.

pub mod figures;
pub mod load;
pub mod poll;
pub mod program;
pub mod response;
pub mod system;
