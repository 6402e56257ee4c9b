// Keys for what the buttons do. Without this script the page works by its buttons.
"use strict";
addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const field = event.target.closest("input");
  if (field && event.key === "Escape") field.blur();
  if (field && event.key === "Enter") event.preventDefault();  // it would be a vote for the first
  if (field) return;
  const wanted = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!wanted || wanted.disabled) return;
  event.preventDefault();
  if (wanted.matches("input")) wanted.focus();
  else wanted.click();
});
addEventListener("pageshow", event => {
  if (event.persisted) location.reload();
});
