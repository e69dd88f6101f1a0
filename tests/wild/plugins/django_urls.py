from app import ask
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("", lambda request: HttpResponse(ask("django view")))]
