//! Every example ends well: they assert what they show.

#[path = "../examples/queue.rs"]
mod queue;

#[test]
fn a_device_answers_until_its_buffer_is_unmapped() -> Result<(), Box<dyn std::error::Error>> {
    queue::main()
}
