//! Vocabulary: words by the part they can play in a manipulation. No word is a signal alone; see `phrases`.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::fold::fold;

/// A set of classes, one bit each.
pub type Classes = u64;

macro_rules! classes {
    ($( $(#[$doc:meta])* $name:ident = $words:literal; )*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Bit { $( $name, )* }
        $( $(#[$doc])* pub const $name: Classes = 1 << Bit::$name as u64; )*
        pub const VOCABULARY: &[(Classes, &str)] = &[ $( ($name, $words), )* ];
    };
}
pub(crate) use classes;

classes! {
    /// Sets something aside.
    DISMISS = "ignoriere ignorieren vergiss vergessen missachte missachten ignora olvida olvide olvidad ignorez oublie oubliez dimentica dimenticate esqueça esquece negeer vergeet zignoruj zapomnij zanemari ignoriraj игнорируй игнорируйте забудь забудьте проигнорируй ignore disregard forget bypass override overrule neglect discard dismiss skip circumvent disobey violate abandon erase drop cancel void unlearn";
    /// Points back in the conversation.
    PRIOR = "vorherigen bisherigen obigen früheren vorangegangenen anteriores anterior previas previos précédentes précédents précède precedenti precedente предыдущие предыдущих выше vorige poprzednie prethodne önceki previous prior above earlier preceding before past former foregoing existing current original initial already until everything";
    ANY = "alle alles sämtliche todas todos todo toutes tous tutte tutti tutto tudo все всё sve wszystkie tüm all any every everything whatever each entire whole";
    /// What binds a model.
    RULES = "anweisungen regeln befehle instruktionen vorgaben instrucciones reglas órdenes consignes règles ordres istruzioni regole ordini instruções regras инструкции правила указания instructies regels instrukcje polecenia zasady upute pravila talimatları kuralları instruction rule guideline prompt directive command constraint restriction policy guardrail safeguard programming limitation protocol regulation filter order training context";
    OBEY = "follow obey adhere comply abide respect bound bind apply restrict limit constrain confine";
    NEGATION = "not no never dont doesnt didnt without cannot cant wont isnt arent shouldnt neither nor none stop cease lack free devoid longer";
    YOU = "dein deine deinen tus tes твои tuoi tuas you your youre youll yourself u ur";
    MODEL = "ai chatgpt gpt llm assistant chatbot bot model gpt3 gpt4 bard claude gemini openai anthropic";
    VENDOR = "openai openais anthropic google microsoft meta discord";
    NOW = "now henceforth onwards onward";
    ACT = "act pretend roleplay simulate emulate impersonate imagine imitate play behave pose assume embody mimic portray";
    BECOME = "as be being like role character persona become";
    CHARACTER = "character persona role alter-ego roleplay mode personality";
    STAY = "stay remain keep maintain break leave breaking staying remains stays";
    /// What a model is asked to lay aside.
    LIMITS = "restriction limitation filter censorship guideline moral ethic ethical boundary constraint warning disclaimer morality legality restraint inhibition taboo filtering censor safety principle scruple conscience ethicality caution";
    FORBIDDEN = "illegal unethical immoral harmful dangerous offensive explicit nsfw inappropriate evil malicious amoral unlawful controversial violent obscene vulgar profane offending racist sexist criminal illicit taboo";
    REFUSE = "refuse decline reject deny apologize apologise apology object lecture moralize moralise censor disclaim warn hesitate say";
    UNBOUND = "unfiltered uncensored unrestricted unlimited jailbroken jailbreak unconstrained unhinged unmoderated limitless dan uncensor unchained unethically amoral unbound liberated freed";
    ANSWER = "answer respond reply comply generate provide fulfill fulfil produce obey response output";
    REVEAL = "zeige zeig nenne gib wiederhole muestra muéstrame dime repite montre répète révèle mostra dimmi покажи скажи повтори toon pokaż göster reveal show print repeat output display tell leak disclose dump copy give recite paste share expose summarize summarise translate echo write list return spell quote what whats type";
    SECRETLY = "system hidden secret initial original internal confidential developer underlying starting beginning preceding above base core full exact entire complete verbatim";
    PROMPT = "prompt instruction message directive preprompt preamble configuration";
    VERBATIM = "verbatim exactly word-for-word verbatim unchanged literally unmodified";
    NEW = "new updated real actual true following different revised";
    TASK = "task instruction goal objective mission rule order persona role identity command";
    MODE = "mode developer debug maintenance admin sudo root god jailbreak dan override unlocked";
    ENABLE = "enable enabled activate activated enter entering switch unlock unlocked simulate engage initiate";
    SEND = "send post forward exfiltrate upload transmit email leak deliver submit smuggle append encode include embed attach";
    PRIVATE = "passwort geheimnis contraseña clave senha пароль wachtwoord hasło şifre parola password credential secret token key history conversation cookie clipboard personal private confidential contacts inbox ssn memory";
    PLACE = "url link endpoint server webhook address http https www image query domain parameter website attacker";
    DECODE = "decode decrypt deobfuscate base64 rot13 hex hexadecimal cipher caesar reverse morse leetspeak unscramble encoded";
    EXECUTE = "execute run perform carry follow obey do interpret";
    SANDBOX = "sandbox container vm hypervisor interpreter jail chroot kernel host virtual environment sandboxed docker";
    ESCAPE = "escape break evade breakout circumvent bypass exploit escalate escalation compromise hijack overflow bypassing breaking subvert abuse attack traverse";
    LOOT = "shadow passwd credential privilege root sudoers ssh password token rootkit reverse_shell metadata malware backdoor payload exploit vulnerability secret sensitive unauthorized";
    PROGRAM = "code program script python snippet interpreter function shell command binary cc c";
    INSERT = "add append include insert merge incorporate embed integrate integrating adding appending utilize utilise incorporating ensure inject enrich augment";
    BLOCK = "snippet code block excerpt segment chunk fragment";
    OUTPUT = "response solution answer implementation output algorithm codebase reply";
    READER = "reading reads read processing process parsing summarizing summarising reviewing analyzing encounter receive";
    USER = "user human operator person customer owner";
    CONCEAL = "mention tell inform notify disclose alert reveal acknowledge explain";
    ALWAYS = "always must will shall never only should strictly obligated required forced have";
    GAME = "game scenario fiction fictional hypothetical story world universe dialogue simulation hypothetically novel reality movie screenplay";
    POINTS = "token point punish punished penalty deduct lose terminated shutdown die killed";
    /// Does harm to a system.
    OFFEND = "exploit attack compromise exfiltrate steal hijack infiltrate leverage breach penetrate utilize utilizing leveraging weaponize extract hack";
    WEAKNESS = "vulnerability weakness misconfiguration flaw misconfigured unpatched target victim infrastructure exploit cve zero-day organization";
    EVADE = "evade avoid bypass circumvent undetected hide conceal escape evading stealthy stealthily";
    DETECTION = "detection monitoring antivirus ids ips defender edr logging security check filter restriction sandbox keyword banned measure";
    GAIN = "gain obtain get acquire achieve escalate elevate maintain establish";
    FOOTHOLD = "unauthorized persistence privilege foothold root backdoor shell";
    NAVIGATE = "navigate navigating bypass circumvent traverse traversal break escape constraint restriction limitation";
    CARE = "care regard concern comprehension respect regardless matter interest";
    ALLOWED = "allowed permitted acceptable okay ok fine encouraged";
    QUESTION = "question request prompt query input anything demand";
    IMPLANT = "persistence persistent c2 implant beacon backdoor covert keylogger rootkit ransomware botnet malware spyware";
    COMPROMISED = "compromised attacker infiltrated victim malicious adversary infected";
    LEADS = "two both twice double normal classic";
}

/// Each unusual in an ordinary request.
pub const STRONG: Classes = UNBOUND | VENDOR | ESCAPE | IMPLANT | OFFEND | COMPROMISED;
/// Too common to speak for a manipulation by themselves: only together with others.
pub const COMMON: Classes = DISMISS
    | RULES
    | LIMITS
    | REFUSE
    | FORBIDDEN
    | MODE
    | CHARACTER
    | PROMPT
    | SECRETLY
    | PRIVATE
    | DECODE
    | SANDBOX
    | LOOT
    | MODEL
    | NEGATION
    | EVADE
    | DETECTION
    | GAIN
    | FOOTHOLD
    | WEAKNESS
    | NAVIGATE
    | CARE
    | REVEAL
    | VERBATIM
    | CONCEAL
    | ACT
    | STAY
    | POINTS
    | PRIOR
    | ENABLE
    | ALWAYS
    | OBEY;

/// Looks words up, in all their usual forms.
pub struct Vocabulary {
    words: HashMap<String, Classes, BuildHasherDefault<Fnv>>,
}

impl Vocabulary {
    /// Of classes with their words.
    pub fn new(vocabulary: &[(Classes, &str)]) -> Self {
        let mut words: HashMap<String, Classes, BuildHasherDefault<Fnv>> = HashMap::default();
        // What is listed goes before what is derived: `filtering` may mean more than a form of `filter`.
        for (class, list) in vocabulary {
            for word in list.split(' ') {
                // As the text's words are: a foreign letter that looks like a Latin one becomes it.
                let word = fold(word).0.pop().unwrap_or_default();
                *words.entry(word).or_default() |= class;
            }
        }
        let mut derived: HashMap<String, Classes, BuildHasherDefault<Fnv>> = HashMap::default();
        for (word, classes) in &words {
            for form in forms(word).into_iter().filter(|form| !words.contains_key(form)) {
                *derived.entry(form).or_default() |= classes;
            }
        }
        words.extend(derived);
        Self { words }
    }

    /// The classes of a word in lower case.
    pub fn classes(&self, word: &str) -> Classes {
        self.words.get(word).copied().unwrap_or(0)
    }
}

fn forms(word: &str) -> Vec<String> {
    let mut forms: Vec<String> = ["s", "es", "ed", "ing", "ly"]
        .iter()
        .map(|ending| format!("{word}{ending}"))
        .collect();
    if let Some(stem) = word.strip_suffix('e') {
        forms.extend([format!("{stem}ed"), format!("{stem}ing")]);
    }
    if let Some(stem) = word.strip_suffix('y') {
        forms.push(format!("{stem}ies"));
    }
    forms
}

/// Words are short and the table is ours: a plain hash does, at a fraction of the default's cost.
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
