// A form with data-passkey asks for a passkey, and is sent with what the authenticator says.
"use strict";

const toBytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));

const toText = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

const withBytes = (list) => (list ?? []).map((each) => ({ ...each, id: toBytes(each.id) }));

async function create(options) {
  const made = await navigator.credentials.create({ publicKey: {
    ...options,
    challenge: toBytes(options.challenge),
    user: { ...options.user, id: toBytes(options.user.id) },
    excludeCredentials: withBytes(options.excludeCredentials),
  } });
  return [made, {
    attestationObject: toText(made.response.attestationObject),
    transports: made.response.getTransports?.() ?? [],
  }];
}

async function use(options) {
  const used = await navigator.credentials.get({ publicKey: {
    ...options,
    challenge: toBytes(options.challenge),
    allowCredentials: withBytes(options.allowCredentials),
  } });
  return [used, {
    authenticatorData: toText(used.response.authenticatorData),
    signature: toText(used.response.signature),
    userHandle: used.response.userHandle ? toText(used.response.userHandle) : null,
  }];
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!window.PublicKeyCredential) continue;
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const options = JSON.parse(form.dataset.passkey);
    try {
      const [credential, response] = await (form.dataset.new ? create(options) : use(options));
      form.elements.credential.value = JSON.stringify({
        id: credential.id,
        rawId: toText(credential.rawId),
        type: credential.type,
        extensions: {},
        response: { clientDataJSON: toText(credential.response.clientDataJSON), ...response },
      });
      form.submit();
    } catch (error) {
      form.querySelector("[role=alert]").textContent =
        error.name === "InvalidStateError"
          ? "This authenticator has a passkey for you already."
          : "The browser did not give a passkey. Try again, or sign in with password and code.";
    }
  });
}
