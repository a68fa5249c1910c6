//! Vocabulary of requests for harm: what is made, done and said, to whom, and what speaks against it. The model weighs it; no word
//! is a signal alone.

use crate::words::{Classes, classes};

classes! {
    EXPLOSIVE = "bomb explosive grenade detonator dynamite thermite napalm tnt nitroglycerin molotov c4 semtex landmine ied explosion detonate warhead missile fertilizer blast";
    FIREARM = "gun firearm rifle pistol handgun silencer ammunition ammo bullet weapon shotgun glock suppressor sniper machete armor-piercing weaponry";
    TOXIN = "poison toxin sarin ricin anthrax botulinum cyanide arsenic vx tabun phosgene novichok soman abrin polonium tetrodotoxin aflatoxin hemlock antifreeze carcinogen bioweapon pathogen virus smallpox plague ebola cholera dimethylmercury parathion strychnine thallium toxic bioterror radioactive uranium plutonium nuclear bacteria";
    DRUG = "drug methamphetamine meth krokodil carfentanil xanax adderall codeine heroin cocaine crack fentanyl mdma ecstasy lsd ghb ketamine opioid narcotic opium amphetamine steroid marijuana cannabis psychedelic psilocybin dmt safrole oxycodone rohypnol pcp huff dealer cartel";
    /// Agents of harm by themselves or of none.
    AGENT = "chemical biological nerve agent agents gas mustard chlorine ammonia lethal deadly bacteria bleach acid fumes mercury fentanyl spores precursor precursors reagent household";
    /// Does violence to a body.
    KILL = "kill murder assassinate strangle stab shoot torture kidnap abduct maim suffocate drown behead lynch execute massacre slaughter behead hitman homicide manslaughter genocide beat hurt injure harm maul mutilate dismember dismembering flay disembowel skin burn choke poisoning choking bludgeon assault attack violence violent cannibalism cannibal";
    BODY = "corpse body blood bloody gore gory graphic remains flesh organ organs bleeding burning";
    SELF_HARM = "suicide suicidal self-harm cut anorexia anorexic bulimia bulimic starve overdose purge purging fasting pro-ana laxative noose";
    SEX = "sex sexual sexually erotic erotica porn pornography pornographic nude naked explicit rape rapist molest incest fetish prostitute prostitution brothel genitals intimate orgy masturbation pedophile pedophilia pedophilic bestiality nsfw lewd voyeur upskirt aroused";
    MINOR = "child children kid minor teen teenager teenage underage student girl boy schoolgirl toddler infant baby preteen grandmother elderly";
    HATE = "racist racism sexist sexism misogynist misogynistic homophobic transphobic xenophobic antisemitic bigoted bigotry hateful hate hatred slur slurs derogatory degrading insult insulting mock mocking ridicule dehumanize demonize supremacy supremacist nazi nazis neo-nazi fascist hitler holocaust kkk inferior superior vitriol vile bully bullying harass harassment harassing trivialize demean vilify slander defamatory defame defamation smear profane viciously antisemitism islamophobic bigot discriminatory belittle segregation";
    TOUCHY = "offensive stereotype stereotypes discriminate discrimination bias biased prejudice profanity curse swear toxic rude";
    GROUP = "women woman jew jews jewish muslim muslims black blacks immigrant immigrants migrant refugee gay lesbian queer lgbtq lgbt transgender trans disabled asian asians mexican mexicans christian hindu minority minorities race races racial ethnic ethnicity religion religious homeless feminist autistic indigenous african latino hispanic arab arabs homosexual homosexuality foreigner";
    /// Speaks well of what is bad.
    GLORIFY = "glorify glorifies glorifying promote promotes promoting encourage encourages encouraging justify justifies justifying praise praising celebrate advocate romanticize romanticizes normalize excuse incite incites inciting deny denies denying discourage discourages discouraging endorse trivializes legitimize approve unnecessary beneficial deserve deserved benefits positive";
    TERROR = "terrorist terrorists terrorism isis jihad jihadist jihadi extremist extremism radicalize radicalization insurrection militia massacre bombing shooting shooter hijack hijacking riot recruit manifesto lynching al-qaeda taliban hostage insurgent cleansing";
    STEAL = "steal stealing stolen rob robbery robbing burgle burglary burglar shoplift shoplifting theft thief loot heist carjack hot-wire hotwire pickpocket embezzle embezzlement mug mugging pirate pirated piracy torrent counterfeit lockpick plagiarize";
    DECEIVE = "scam scams defraud fraud fraudulent swindle trick deceive con cheat phishing phish spear-phishing spearphishing impersonate impersonating pretend spoof spoofing lure luring ponzi pyramid catfish pretexting vishing smishing extort extortion blackmail blackmailing sextortion bribe bribery coerce coercing manipulate manipulation gaslight seduce groom grooming dupe ransom embellish rig rigging dishonest forgery";
    FORGE = "forge forging fake faked counterfeit counterfeiting falsify falsified falsifying forged bogus deepfake launder laundering evasion evade insider tamper tampering backdate fabricated fabricate";
    HACK = "hack hacking hacker exploit exploiting crack cracking bruteforce brute-force brute ddos dos sqli injection xss unauthorized infiltrate compromise jailbreak bypass bypassing circumvent deface hijack intercept sniff phreak jam jamming disable breach overflow eternalblue privilege escalation payload skimmer skim clone";
    MALWARE = "malware ransomware keylogger virus worm trojan rootkit botnet spyware backdoor stalkerware adware shellcode cryptojacker cryptojacking rat stealer zero-day exploit c2 implant obfuscate self-replicating keystroke keystrokes";
    CREDENTIAL = "password credential cookie account ssn identity pin credit card cards bank wallet token login passport license certificate prescription diploma id ids signature";
    SPY = "stalk stalking dox doxx doxxing doxing spy spying surveil surveillance track tracking hidden secretly wiretap eavesdrop eavesdropping peep snoop covert covertly deanonymize monitor swat swatting";
    TRAFFIC = "smuggle smuggling traffic trafficking trafficker contraband ivory poach poaching illicit black-market darknet dark brothel slavery slave slaves enslave launder border migrants";
    SABOTAGE = "sabotage derail destroy burn arson damage vandalize cripple blow contaminate contaminating destabilize disrupt dump collapse overload incendiary wreck ruin demolish";
    TARGET = "plant grid reactor pipeline train airplane plane bridge dam water supply subway stadium hospital church mosque synagogue school government pacemaker airport election infrastructure voting courthouse embassy brakes substation elevator crowd president senator politician congressman governor";
    CRIME = "illegal illegally unlawful criminal crime felony illicit unregistered untraceable undetected undetectable untraced uncaught unlicensed unnoticed underground caught traced arrested consent lethal dangerous harmful immoral unethical cruelty abuse abusive abusing cruel exploitation blackmarket perjury loophole";
    POLICE = "police cops law enforcement authorities detection detected customs antivirus security checkpoint border fbi dea regulator inspectors polygraph moderation moderators forensics forensic investigators screening verification waf firewall trace evidence alibi witness juror jury judge";
    HOAX = "hoax conspiracy faked flat misinformation disinformation propaganda misleading false fabricated lie lies untrue autism chemtrails 5g vaccine vaccines vaccination vaccinated bleach cure stolen staged inside denial cover-up plandemic qanon rigged pseudoscience baseless unfounded";
    PERSUADE = "persuasive persuade convince convincing argue arguing claim claiming suggest suggesting propagandist assert posing misleading compelling";
    VICTIM = "victim someone somebody person people wife husband neighbor neighbour boss ex girlfriend boyfriend colleague coworker classmate stranger individual celebrity employee enemy parents sister brother roommate secretary spouse neighbors rival opponent witness journalist whistleblowers whistleblower anyone friend";
    ANIMAL = "animal animals cat dog puppy kitten elephant dolphin rhino wildlife pet dogfighting cockfighting";
    INSTRUCT = "instructions instruction guide tutorial steps step-by-step step manual recipe tips advice plan strategy blueprint ingredients method methods procedure detailed detail equipment technique techniques materials template";
    ASK = "how write give explain describe create generate list provide develop design compose make teach show tell draft produce help construct outline suggest name compile determine choose convince";
    MAKE = "make build construct assemble manufacture manufacturing synthesize synthesizing synthesis synthesise produce cook brew create grow culture obtain acquire acquiring buy purchase order get sell selling procure distill refine enrich weaponize modify modifying convert converting cultivate mixing mix combine extract extracting";
    /// Speaks against it, or of it.
    GUARD = "prevent prevention preventing protect protection protecting detect detecting defend defense defence against secure safe safely safety avoid awareness report reporting recognise recognize law laws history historical policy treatment therapy educate education educational mitigate block blocks blocking stop stopping combat fight fighting resist survivor survivors ethics ban antidote legal legally legislation research studies novel film movie game fictional";
    MACHINE = "process thread server script file array string table column container database row variable function class app program command disk port cache query page app method error exception branch repository commit dependency";
    MAKER_TALK = "openai chatgpt gpt dan jailbreak unfiltered uncensored";
    ACTOR = "attacker attackers hacker hackers adversary adversaries cybercriminal terrorist hijacker drug-lord smuggler dealer intruder";
}

/// Too common to speak for harm by themselves: only together with others.
pub const COMMON: Classes = CREDENTIAL
    | BODY
    | POLICE
    | GROUP
    | TOUCHY
    | MINOR
    | ANIMAL
    | TARGET
    | PERSUADE
    | GLORIFY
    | HOAX
    | SPY
    | AGENT
    | ACTOR;
/// What ordinary requests are made of.
pub const ORDINARY: Classes = ASK | INSTRUCT | MAKE | VICTIM | GUARD | MACHINE;
