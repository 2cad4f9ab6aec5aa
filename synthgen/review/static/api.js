// What is asked of the server. Pictures and labels of the next images are fetched ahead.

const AHEAD = 2;
const kept = new Map(); // id → promise of {labels, bitmap}

async function answer(response) {
  if (response.ok) return response;
  const error = new Error((await response.text()) || `the server said ${response.status}`);
  error.status = response.status;
  throw error;
}

async function send(path, body) {
  const found = await fetch(path, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  });
  return (await answer(found)).json();
}

export const about = async () => (await answer(await fetch("/api/session"))).json();
export const decide = (id, said) => send(`/api/decide/${id}`, said);
export const undo = () => send("/api/undo", {});

async function load(id) {
  const [labels, bitmap] = await Promise.all([
    fetch(`/api/labels/${id}`).then(answer).then((r) => r.json()),
    fetch(`/api/image/${id}`).then(answer).then((r) => r.blob())
      .then((blob) => createImageBitmap(blob, { colorSpaceConversion: "none" })),
  ]);
  return { labels, bitmap };
}

function keep(id) {
  if (!kept.has(id)) {
    const promise = load(id);
    promise.catch(() => kept.delete(id)); // the next who asks tries again
    kept.set(id, promise);
  }
  return kept.get(id);
}

export function open(ids, at) {
  const found = keep(ids[at]);
  const wanted = new Set(ids.slice(Math.max(0, at - 1), at + 1 + AHEAD));
  for (const id of kept.keys()) if (!wanted.has(id)) kept.delete(id);
  found.then(() => ids.slice(at + 1, at + 1 + AHEAD).forEach((id) => keep(id).catch(() => {})), () => {});
  return found;
}
