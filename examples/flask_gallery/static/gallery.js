"use strict";

// What the page remembers, through a reload too. Texts reach the page as texts alone, never as markup.
const {page, jobs} = history.state ?? {page: document.body.dataset.page, jobs: []};
const cards = new Map();
const find = (id) => document.getElementById(id);

function show(job) {
    const card = cards.get(job) ?? addCard(job);
    const link = card.querySelector("a");
    const image = card.querySelector("img");
    const progress = card.querySelector("progress");
    const done = job.phase === "done";
    card.dataset.phase = job.phase;
    link.hidden = !done;
    card.querySelector(".canvas").hidden = done;
    card.querySelector(".canvas").textContent = {painting: `${Math.round(job.progress)} %`, failed: "✕"}[job.phase] ?? "";
    card.querySelector(".note").textContent = describe(job);
    card.querySelector(".again").hidden = job.phase !== "failed" || !job.retry;
    progress.hidden = done || job.phase === "failed";
    if (job.phase === "painting") {
        progress.value = job.progress;
    } else {
        progress.removeAttribute("value"); // it moves, but tells no number
    }
    if (done && image.getAttribute("src") !== job.image) {
        image.src = link.href = job.image;
    }
}

function addCard(job) {
    const card = find("card").content.cloneNode(true).firstElementChild;
    const title = card.querySelector("h3");
    const again = card.querySelector(".again");
    const image = card.querySelector("img");
    title.textContent = job.prompt;
    title.id = `job-${job.number}`;
    image.alt = `Picture of ${job.prompt}`;
    image.addEventListener("error", () => {
        image.removeAttribute("src");
        learn(job, {phase: "failed", note: "the picture cannot be loaded", retry: true});
    });
    card.querySelector("progress").setAttribute("aria-label", `Progress of ${job.prompt}`);
    again.setAttribute("aria-describedby", title.id);
    again.addEventListener("click", () => {
        order(job);
        title.focus(); // the button is gone
    });
    cards.set(job, card);
    find("cards").prepend(card);
    find("empty").hidden = true;
    find("pictures").hidden = false;
    return card;
}

function describe(job) {
    switch (job.phase) {
        case "waiting": return job.note || "Waiting for a free painter…";
        case "painting": return job.note ? `Painting: ${job.note}` : "Painting";
        case "failed": return `Failed: ${job.note}`;
        default: return "Ready";
    }
}

function learn(job, news) {
    const isMoreOfTheSame = news.phase === "painting" && job.phase === "painting";
    Object.assign(job, news, {heard: job.heard + 1});
    show(job);
    if (!isMoreOfTheSame) {
        find("news").textContent = `${describe(job)}: ${job.prompt}`;
        history.replaceState({page, jobs}, "");
    }
}

async function ask(job, request) {
    try {
        const answer = await fetch(`jobs/${page}/${job.number}`, request);
        return {status: answer.status, body: await answer.json().catch(() => ({}))};
    } catch {
        return {status: 503}; // the application is away, as the gateway may be
    }
}

async function order(job) {
    learn(job, {phase: "waiting", note: ""});
    const headers = {"Content-Type": "application/json"};
    const {status, body} = await ask(job, {method: "PUT", headers, body: JSON.stringify({prompt: job.prompt})});
    if (status === 503) {
        learn(job, {phase: "waiting", note: "Waiting for the gateway…"});
    } else if (status !== 202) {
        learn(job, {phase: "failed", note: body.error ?? `status ${status}`, retry: false});
    }
}

async function catchUp(job) {
    const heard = job.heard;
    const {status, body} = await ask(job, {});
    if (job.heard !== heard) {
        return; // fresher news has come meanwhile
    }
    if (status === 200) {
        learn(job, body);
    } else if (status === 404) {
        order(job); // it has never arrived, or the gateway was restarted
    }
}

function tell(state) {
    const connection = find("connection");
    const isConnected = state === "connected";
    connection.dataset.state = isConnected ? "connected" : "reconnecting";
    const text = isConnected ? "Connected" : "Reconnecting…";
    if (connection.textContent !== text) {
        connection.textContent = text;
    }
    if (isConnected) {
        jobs.filter((job) => job.phase === "waiting" || job.phase === "painting").forEach(catchUp);
    }
}

let source;

function listen() {
    source?.close();
    if (document.hidden) {
        return; // browsers allow few connections to a host; this page catches up when it is seen again
    }
    source = new EventSource(`events/${page}`);
    source.addEventListener("state", (message) => tell(JSON.parse(message.data).state));
    source.addEventListener("job", (message) => {
        const {number, ...news} = JSON.parse(message.data);
        const job = jobs.find((each) => String(each.number) === number);
        if (job) {
            learn(job, news);
        }
    });
    source.addEventListener("error", (event) => {
        tell("reconnecting");
        if (event.target === source && source.readyState === EventSource.CLOSED) {
            setTimeout(listen, 2000); // browsers come back by themselves only from a stream that had begun
        }
    });
}

find("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const [number] = crypto.getRandomValues(new Uint32Array(1));
    const job = {number, prompt: find("prompt").value.trim(), phase: "", note: "", progress: 0, heard: 0};
    jobs.push(job);
    order(job);
    event.target.reset();
    find("prompt").focus();
});

find("empty").addEventListener("click", (event) => {
    if (event.target.matches("button")) {
        find("prompt").value = event.target.textContent;
        find("prompt").focus();
    }
});

jobs.forEach(show);
document.addEventListener("visibilitychange", listen);
listen();
