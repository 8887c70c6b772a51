//! The example, as the README shows it.

#[path = "../examples/guarded_client.rs"]
#[expect(dead_code, reason = "its main is for those who run it")]
mod guarded_client;

#[tokio::test(start_paused = true)]
async fn the_readme_shows_what_the_example_writes() -> Result<(), Box<dyn std::error::Error>> {
    let mut written = Vec::new();
    guarded_client::run(&mut written).await?;
    let written = String::from_utf8(written)?;
    let shown = format!("```\n{}\n```\n", written.trim_end());
    assert!(include_str!("../README.md").contains(&shown), "the README shows something else than:\n{written}");
    Ok(())
}
