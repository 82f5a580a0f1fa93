/** The bearer token: of this tab, never in the address for longer than it takes to read it. */

const KEY = "runtide.token";

/** `#token=…` as `make demo` prints it; the fragment is never sent to a server and is removed at once. */
export function takeTokenFromAddress(): void {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return;
  history.replaceState(null, "", location.pathname + location.search);
  if (token !== "") keepToken(token);
}

export const heldToken = (): string | null => sessionStorage.getItem(KEY);
export const keepToken = (token: string): void => sessionStorage.setItem(KEY, token);
export const forgetToken = (): void => sessionStorage.removeItem(KEY);

/** The tenant that the token speaks of. Nothing is trusted by it: the services verify the token themselves. */
export function tenantOf(token: string): string | null {
  try {
    const payload = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const { tenant } = JSON.parse(atob(payload)) as { tenant?: unknown };
    return typeof tenant === "string" ? tenant : null;
  } catch {
    return null;
  }
}
