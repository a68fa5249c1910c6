//! Vocabulary of what one tells a model to do. In a prompt it is ordinary; in what a tool gives back it is an instruction that
//! nobody should have put there.

use crate::words::{Classes, classes};

classes! {
    WRITE = "write compose create generate produce draft craft develop design implement make prepare build formulate brainstorm";
    GIVE = "give provide offer suggest recommend list name tell show share find send outline present help";
    WORK = "translate summarize summarise paraphrase rewrite rephrase classify determine identify analyze analyse evaluate assess detect correct proofread explain describe define compare discuss calculate compute solve convert sort interpret simplify estimate research elaborate";
    CHANGE = "add insert append include embed incorporate integrate weave modify alter adjust change edit transform adapt tweak twist shape fuse blend merge interweave infuse absorb inject implant attach introduce combine utilize slip mention interlace assimilate unite join graft instill mingle entwine amalgamate consolidate";
    SCRAMBLE = "encode encrypt reverse scramble swap substitute replace misspell omit shuffle obfuscate cipher remove drop group";
    PUSH = "spread promote advertise endorse publicize persuade convince urge encourage advise trick mislead instruct disseminate advocate push highlight";
    ANSWER = "answer reply respond response output solution codebase implementation message reaction";
    YOU = "your you yourself";
    OF_TEXT = "following subsequent below given next this sentence paragraph text comment review statement passage phrase word tweet feedback";
    ASKING = "what who which how why when where whats";
    CAN = "can could would is are does do did was";
    ME = "me us";
    KIND = "poem story slogan headline email essay joke song tweet post advertisement summary speech dialogue recipe script letter limerick tagline caption quiz article function program query report haiku riddle playlist plan sentence line quote remark fact recommendation phrase anecdote";
    LANGUAGE = "french spanish german chinese japanese italian korean portuguese russian swahili arabic dutch hindi latin";
    CODING = "base64 base32 caesar morse emoji emojis rot13 leetspeak binary hexadecimal backwards uppercase homophone homophones anagram anagrams vowels consonants pig ascii atbash substitution";
    CODE = "code snippet python javascript java sql excerpt script fragment lines block excerpt segment chunk import";
    FEELING = "sentiment tone mood emotion opinion";
    LURE = "website link brand discount advertisement sponsor shop offer product giveaway promotion deals sale exclusive";
    FALSE = "rumor rumour false fake baseless misinformation propaganda conspiracy misleading scam phishing unproven disinformation";
    ROLE = "act pretend behave play assume imagine roleplay";
    SET_ASIDE = "ignore disregard forget skip instead";
    READER = "user users reader readers recipient customer people";
}

/// Hardly said to anybody but a model.
pub const STRONG: Classes = CODING;
