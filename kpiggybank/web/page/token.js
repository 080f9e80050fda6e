// Asks for the read token, where the server wants one.

class NoToken extends Error {
  name = "NoToken";
}

/** Whether something failed because no token was given. */
export function isAboutToken(error) {
  return error.name === "NoToken";
}

/** A question in this dialog: `ask(wasRefused)` promises a token. */
export function asker(dialog) {
  const input = dialog.querySelector("input");
  const remark = dialog.querySelector(".remark");
  return (wasRefused) =>
    new Promise((resolve, reject) => {
      remark.textContent = wasRefused ? "The server does not take this token for reading." : "";
      input.value = "";
      const form = dialog.querySelector("form");
      form.onsubmit = (event) => {
        event.preventDefault();
        const token = input.value.trim();
        if (!/^[!-+\--~]{1,500}$/.test(token)) {
          remark.textContent = "A token is one word of up to 500 visible ASCII characters, without a comma.";
          return;
        }
        dialog.onclose = null;
        dialog.close();
        resolve(token);
      };
      dialog.querySelector("button[type=button]").onclick = () => dialog.close();
      dialog.onclose = () => reject(new NoToken("no token was given"));
      if (!dialog.open) dialog.showModal();
      input.focus();
    });
}
