//! A plain SMTP client that waits for every reply and says parameters as they are given to it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::mail::{Mail, dot_stuffed};

/// No reply takes longer than this.
const LIMIT: Duration = Duration::from_secs(60);

/// Sends one mail and says QUIT; answers with the whole dialogue.
///
/// # Errors
///
/// The dialogue up to the reply that refused, or up to the error of the connection.
pub fn submit(address: SocketAddr, mail: &Mail) -> Result<String, String> {
    let stream = TcpStream::connect_timeout(&address, LIMIT).map_err(|error| error.to_string())?;
    submit_over(stream, mail)
}

/// As [`submit`], over a connection that is there already.
///
/// # Errors
///
/// As [`submit`].
pub fn submit_over(stream: TcpStream, mail: &Mail) -> Result<String, String> {
    let mut dialogue = String::new();
    match converse(stream, mail, &mut dialogue) {
        Ok(true) => Ok(dialogue),
        Ok(false) => Err(dialogue),
        Err(error) => Err(format!("{dialogue}{error}\n")),
    }
}

fn converse(stream: TcpStream, mail: &Mail, dialogue: &mut String) -> std::io::Result<bool> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut say = |line: &[u8], shown: &str, wanted: char| -> std::io::Result<bool> {
        (&stream).write_all(line)?;
        dialogue.push_str(&format!("C: {shown}\n"));
        let reply = read_reply(&mut reader)?;
        dialogue.push_str(&reply);
        Ok(reply.starts_with(wanted))
    };
    let mut commands = vec![("EHLO client.test".to_owned(), '2')];
    commands.push((parameters(&format!("MAIL FROM:<{}>", mail.from), &mail.mail_parameters), '2'));
    for to in &mail.to {
        commands.push((parameters(&format!("RCPT TO:<{to}>"), &mail.rcpt_parameters), '2'));
    }
    commands.push(("DATA".to_owned(), '3'));
    if !say(b"", "(connected)", '2')? {
        return Ok(false);
    }
    for (command, wanted) in commands {
        if !say(format!("{command}\r\n").as_bytes(), &command, wanted)? {
            return Ok(false);
        }
    }
    let accepted = say(&dot_stuffed(&mail.content), "(message)", '2')?;
    say(b"QUIT\r\n", "QUIT", '2')?;
    Ok(accepted)
}

fn parameters(command: &str, parameters: &str) -> String {
    if parameters.is_empty() { command.to_owned() } else { format!("{command} {parameters}") }
}

/// One reply, all its lines.
pub(crate) fn read_reply(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut reply = String::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            let cut = format!("closed after {reply:?}");
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, cut));
        }
        reply.push_str(&String::from_utf8_lossy(&line));
        if line.get(3) != Some(&b'-') {
            return Ok(reply);
        }
    }
}
