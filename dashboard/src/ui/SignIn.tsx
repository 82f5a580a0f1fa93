import { type FormEvent, useId, useState } from "react";
import { Logo } from "./Frame";

/** Asks for the bearer token once; it stays in this tab's session storage and is sent to the services alone. */
export function SignIn({ refused, onToken }: { refused: boolean; onToken: (token: string) => void }) {
  const [token, setToken] = useState("");
  const field = useId();
  const note = useId();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (token.trim() !== "") onToken(token.trim());
  };
  return (
    <main className="sign-in">
      <form onSubmit={submit}>
        <Logo />
        <h1>Sign in</h1>
        <label htmlFor={field}>Access token</label>
        <input
          id={field}
          type="password"
          autoComplete="off"
          spellCheck={false}
          required
          autoFocus
          value={token}
          aria-describedby={note}
          aria-invalid={refused}
          onChange={(event) => setToken(event.target.value)}
        />
        <p id={note} className={refused ? "note bad" : "note"} role={refused ? "alert" : undefined}>
          {refused ? (
            "This token was not accepted. It may have expired."
          ) : (
            <>
              <code>RUNTIDE_TOKEN</code> in <code>.runtide/stack.env</code>. It is kept for this tab only.
            </>
          )}
        </p>
        <button type="submit" className="primary">
          Sign in
        </button>
      </form>
    </main>
  );
}
